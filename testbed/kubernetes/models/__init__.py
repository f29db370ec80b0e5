"""The objects that matter to networking, typed, with the checks of the API server; one file an API group.

Fields are named as in Kubernetes, in Python's style: `containerPort` is `container_port`. Other fields of an object are
checked against the table of `testbed.kubernetes.fields` and kept as they are written.
"""
