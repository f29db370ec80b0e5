"""Calico: a route for each pod, blocks of addresses for nodes, and several ways of telling nodes of each other's."""
