"""Flannel: a handful of kernel objects on each node for every other one, which its daemon writes, and nothing more.

Its backends differ in how packets cross the fabric. All else is common to them:

- the CNI plugins of `/etc/cni/net.d/10-flannel.conflist`: `flannel` reads what flanneld wrote to
  `/run/flannel/subnet.env`, and has `bridge` attach each pod to `cni0`, with addresses by `host-local`; `portmap` would
  add rules for host ports, of which these pods have none;
- rules of iptables: FLANNEL-FWD lets pods' packets through, FLANNEL-POSTRTG has those that leave the cluster come from
  the node's address.
"""
