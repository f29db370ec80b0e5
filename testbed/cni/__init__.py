"""A container runtime's side of the Container Network Interface (CNI), versions 0.1.0 to 1.1.0.

`network` reads configurations, `template` fills them for a node, `request` derives the input of each plugin, `result`
reads what plugins answer, `runtime` calls them in order and stores their results. Plugins run where the calling thread
is: its network namespace and its files are the node's.
"""
