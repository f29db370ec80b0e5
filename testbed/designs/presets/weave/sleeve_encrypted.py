"""weave-sleeve-encrypted: Weave Net's tunnel in user space with a password, so that frames are encrypted.

All is as in `weave-sleeve`, but for what is inside the UDP datagrams: the sender's name, a number, and a box of NaCl's
(XSalsa20 and Poly1305) that holds the frames. The key is one for each two nodes, made when they connect, over TCP port
6783, of a public key of each (Curve25519) and the password, which is made with the lab.

    ss -tn sport = 6783 or dport = 6783     the connections, one for each two nodes
    tcpdump -nXi eth0 udp port 6783         a name, a number, and nothing that can be read

The lab is up when all nodes have their keys. Pods' MTU is 1376, Weave's own, or what is left of the fabric's less 86
bytes. A datagram that is not from a peer with the key, or comes a second time, is dropped.

It needs PyNaCl, which is installed with the testbed.

Unlike in Weave, the connection (TCP 6783) carries nothing but the two keys, and so nothing on it is encrypted.
"""

from testbed.designs.presets.weave import bridge, sleeve
from testbed.designs.presets.weave.preset import preset

PRESET = preset(
    "sleeve-encrypted",
    bridge.attachment(checksums=False),
    sleeve.transport(encrypts=True),
    "Weave Net's tunnel in user space, encrypted by NaCl's secretbox, with a key for each two nodes",
    __doc__,
    sleeve.UNLIKE,
)
