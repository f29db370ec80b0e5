"""flannel-udp: Flannel's first backend. A program on each node takes packets from a TUN device and sends them by UDP.

    pod eth0 10.244.0.2/24 - veth [cni0 10.244.0.1/24] node1 [flannel0 10.244.0.0/32] - program - eth0 - UDP 8285

    ip -d link show flannel0    tun type tun, mtu 1472
    ip route                    10.244.0.0/16 dev flannel0
    ss -lunp                    192.168.56.1:8285

One route for all pods of other nodes; which node has which pods is in the program's own table. Each packet is copied
between the kernel and the program twice, and loses one of its TTL at either end. There is no encryption: Flannel keeps
this for debugging, and for kernels without anything better.

This backend knows IPv4 alone. The pods are attached by CNI and the rules are those of `flannel-vxlan`.

Unlike flanneld, whose proxy is in C, the testbed has `testbed/programs/udp_tunnel.py`, in Python: its figures tell
what a tunnel in user space costs in kind, not in degree.
Unlike flanneld's, it answers by ICMP errors that arrive, where it has no entry or the TTL is exhausted.
"""

from dataclasses import replace

from testbed.designs.presets.flannel.preset import preset
from testbed.designs.transports import udp

PRESET = preset(
    "udp",
    replace(udp.TRANSPORT, pod_families=(4,), any_family=False),
    "Flannel in user space: flannel0, and a program behind it",
    __doc__,
)
