"""weave-sleeve-encrypted: Weave Net's tunnel in user space with a password, so that frames are encrypted.

As `weave-sleeve`, except for the content of the UDP datagrams: the sender's name, a number, and a NaCl box (XSalsa20
and Poly1305) that contains the frames. Each two nodes have one key, derived when they connect over TCP port 6783 from a
public key of each (Curve25519) and the password, which is created with the lab.

    ss -tn sport = 6783 or dport = 6783     the connections, one for each two nodes
    tcpdump -nXi eth0 udp port 6783         a name, a number, and encrypted data

The lab is up when all nodes have their keys. Pods' MTU is 1376, Weave's default, or the fabric's less 86 bytes if that
is smaller. Datagrams that were not encrypted with a peer's key, or that arrive a second time, are dropped.

It requires PyNaCl, which is installed with the testbed.

Unlike in Weave, the connection (TCP 6783) carries only the two keys, so nothing on it is encrypted.
"""

from testbed.designs.presets.weave import bridge, sleeve
from testbed.designs.presets.weave.preset import preset

PRESET = preset(
    "sleeve-encrypted",
    bridge.attachment(checksums=False),
    sleeve.transport(encrypts=True),
    "Weave Net's tunnel in user space, encrypted by NaCl's secretbox, with one key for each two nodes",
    __doc__,
    sleeve.UNLIKE,
)
