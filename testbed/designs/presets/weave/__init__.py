"""Weave Net: one Ethernet for the pods of all nodes.

The data paths differ in how frames travel between nodes. Common to all are the bridge `weave` on each node, the
addresses, and the iptables rules. Weave supports only IPv4. The project has ended; its last release is 2.8.1.
"""
