"""flannel-udp: Flannel's first backend. A process on each node reads packets from a TUN device and sends them by UDP.

    pod eth0 10.244.0.2/24 - veth [cni0 10.244.0.1/24] node1 [flannel0 10.244.0.0/32] - process - eth0 - UDP 8285

    ip -d link show flannel0    tun type tun, mtu 1472
    ip route                    10.244.0.0/16 dev flannel0
    ss -lunp                    192.168.56.1:8285

One route covers the pods of all other nodes; the process has its own table from pod range to node. Each packet is
copied twice between the kernel and the process, and its TTL decreases by one on either node. There is no encryption.
Flannel keeps this backend for debugging, and for kernels that support nothing better.

The backend supports only IPv4. CNI plugins and iptables rules are those of `flannel-vxlan`.

Unlike flanneld, whose proxy is in C, the testbed has `testbed/programs/udp_tunnel.py`, in Python: its figures show the
kind of cost of a tunnel in user space, not its size.
Unlike flanneld's, the process sends ICMP errors that reach the sender if it has no entry or the TTL is exceeded.
"""

from dataclasses import replace

from testbed.designs.presets.flannel.preset import preset
from testbed.designs.transports import udp

PRESET = preset(
    "udp",
    replace(udp.TRANSPORT, pod_families=(4,), any_family=False),
    "Flannel in user space: flannel0, and a process behind it",
    __doc__,
)
