"""A container runtime's side of the Container Network Interface (CNI), versions 0.1.0 to 1.1.0.

`network` reads configurations, `template` fills them for a node, `request` derives what each plugin is told, `result`
reads what plugins answer, `runtime` calls them in order and keeps their results. Who calls says where: the calling
thread's network namespace and files are the plugins' node.
"""
