"""Flannel: its daemon adds a few kernel objects to each node for every other node.

The backends differ in how packets cross the fabric. Common to all are:

- the CNI plugins of `/etc/cni/net.d/10-flannel.conflist`: `flannel` reads `/run/flannel/subnet.env`, which flanneld
  writes, and calls `bridge` to attach each pod to `cni0`, with addresses from `host-local`; `portmap` adds rules for
  host ports, which these pods do not have;
- iptables rules: FLANNEL-FWD accepts pods' packets, FLANNEL-POSTRTG masquerades those that leave the cluster.
"""
