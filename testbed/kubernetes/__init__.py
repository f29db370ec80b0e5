"""Kubernetes objects and what the controllers of a cluster do with them, as pure functions.

`reading` turns manifests into objects, `workloads` makes the pods that controllers would make, `scheduling` places them
on nodes, `printing` shows them as kubectl does. Nothing here reads a file, knows a lab, or runs a command.
"""
