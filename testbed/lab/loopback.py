"""Two ends in one namespace, on loopback: the best result of a probe, without a network between its ends."""

import ipaddress
import os

from testbed.kernel import encode
from testbed.kernel.namespace import Namespace
from testbed.kernel.netlink import send
from testbed.lab.lab import Lab
from testbed.lab.places import Places
from testbed.lab.programs import Programs
from testbed.plan.objects import Kind, Plan, Space

SOURCE, TARGET = "loopback-source", "loopback-target"
_ADDRESSES = {4: ipaddress.ip_address("127.0.0.1"), 6: ipaddress.ip_address("::1")}


class Loopback(Lab):
    """A lab of one namespace with two names, so that each end can have its own CPUs."""

    def __init__(self, families: tuple[int, ...], mtu: int) -> None:
        """`mtu` is used as the pods' MTU by probes that size datagrams by it."""
        reached_at = tuple(_ADDRESSES[family] for family in families)
        spaces = tuple(Space(name, Kind.POD, reached_at=reached_at) for name in (SOURCE, TARGET))
        self.places = Places(Plan("loopback", "loopback", mtu, spaces, ()))
        self.programs = Programs(self.places)
        only = Namespace.create()
        self.namespaces.update({SOURCE: only, TARGET: Namespace(os.dup(only.fd))})
        with only.entered():
            send([encode.link_up(encode.LOOPBACK)])
