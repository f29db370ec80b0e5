"""Calico: a route for each pod, a block of addresses for each node, and several ways to distribute the blocks."""
