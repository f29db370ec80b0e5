"""udp: Flannel's tunnel in user space. A process on each node reads packets from a TUN device and sends them by UDP.

No header except IP and UDP, and no encryption. Every packet is copied twice between the kernel and the process. Flannel
keeps it for kernels that support nothing better. Here the process is `testbed/programs/udp_tunnel.py`, in Python, which
is slower than Flannel's in C: its figures show the kind of cost of a tunnel in user space, not its size.
"""

import ipaddress

from testbed.designs.attachment import Delivers
from testbed.designs.transport import (
    Joining,
    Leg,
    Transport,
    less,
    outer_family,
)
from testbed.designs.transports.overlay import UDP_HEADERS, tunnel_address
from testbed.plan.addressing import Layout, NodePlace
from testbed.plan.objects import OWN_PROGRAMS, PYTHON, Plan, Program, Says, Signal
from testbed.plan.sightings import Tunnel
from testbed.spec.design import TransportSpec

PORT = 8285
DEVICE = "flannel0"
PROGRAM = "udp_tunnel"
TABLE = "/run/flannel/leases"
"""File of the table from prefix to node."""


def _join(joining: Joining) -> None:
    draft, layout, options = joining.draft, joining.layout, joining.options
    for node in layout.nodes:
        space = draft[node.name]
        space.tun(DEVICE, joining.mtu)
        for own, cidr in zip(node.pod_cidrs, layout.pod_cidrs, strict=True):
            space.address(DEVICE, ipaddress.ip_interface(tunnel_address(own)))
            space.route(cidr, DEVICE)
        table = []
        for remote in joining.tunnelled(node):
            for cidr in remote.pod_cidrs:
                table.append(f"{cidr}={remote.address(outer_family(cidr.version, layout))}")
        local = ",".join(str(address.ip) for address in node.addresses)
        space.file(TABLE, "".join(f"{entry}\n" for entry in table))
        port = options.port or PORT
        space.add(
            Program(
                name=PROGRAM,
                command=(PYTHON, "-I", "-S", f"{OWN_PROGRAMS}/{PROGRAM}.py", DEVICE, str(port), local, f"@{TABLE}"),
                ready=Says(),
                reload=Signal(),
                files=(TABLE,),
                devices=(DEVICE,),
                port=port,
            )
        )


def _leg(plan: Plan, layout: Layout, options: TransportSpec, one: NodePlace, other: NodePlace, family: int) -> Leg:
    outer = outer_family(family, layout)
    ends = str(one.address(outer)), str(other.address(outer))
    return Leg(DEVICE, Tunnel("UDP", *ends, options.port or PORT), outer)


TRANSPORT = Transport(
    name="udp",
    summary="inside UDP, by a process in user space",
    like=("Flannel udp",),
    needs=("tun",),
    takes=frozenset({Delivers.PACKETS}),
    join=_join,
    leg=_leg,
    room=less(UDP_HEADERS),
    parameters=("port", "mode"),
    any_family=True,
    page=__doc__,
)
