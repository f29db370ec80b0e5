"""Weave Net: one Ethernet for the pods of all nodes, whichever way its frames travel between them.

Its data paths differ in that way. Common to them are the bridge `weave` on each node, the addresses, and the rules of
iptables. It knows IPv4 alone. The project has ended; its last release is 2.8.1.
"""
