"""The kernel objects of a plan, as small frozen dataclasses.

Their names and fields are those of `ip`, `bridge`, `tc` and `sysctl`. A plan is complete: whoever carries it out, be it
`testbed.kernel` or a person with the commands of `testbed.plan.shell`, has nothing left to decide.

Every device has its `index`, the number by which the kernel knows it, unique over all spaces of the plan. So nothing
has to be looked up while a lab is built, and no veth has a peer of its own number: the kernel takes such a device for
one without a peer and may tell its bridge only after a second that it is up (`linkwatch_urgent_event`).
"""

from testbed.plan.objects.addresses import DeviceAddress
from testbed.plan.objects.bridge import Bridge
from testbed.plan.objects.child import Child
from testbed.plan.objects.datapath import Datapath, Flow
from testbed.plan.objects.encapsulation import Encapsulation, SegmentEnd, Segments, TunnelKey
from testbed.plan.objects.entries import DownDevice, Esp, NftTable, SegmentSource, Sysctl
from testbed.plan.objects.fdb import FdbEntry
from testbed.plan.objects.geneve import Geneve
from testbed.plan.objects.ip_tunnel import IpTunnel, TunnelKind
from testbed.plan.objects.links import LINKS, TUNNELS, Device, Link
from testbed.plan.objects.neighbours import Neighbour
from testbed.plan.objects.netem import Netem
from testbed.plan.objects.other_link import OtherLink
from testbed.plan.objects.plan import Kind, Object, Plan, Space
from testbed.plan.objects.programs import (
    BPF_FOLDER,
    FORWARDED,
    OWN_PROGRAMS,
    PYTHON,
    Bpf,
    BpfEntry,
    BpfHook,
    Command,
    CountingMap,
    File,
    KeyPart,
    Plugged,
    Program,
    Says,
    Signal,
)
from testbed.plan.objects.routes import BIRD, BOOT, LOCAL_TABLE, MAIN_TABLE, CutRoute, LearnedRoute, NextHop, Route
from testbed.plan.objects.rules import RoutingRule
from testbed.plan.objects.token_bucket import TokenBucket
from testbed.plan.objects.tun import Tun
from testbed.plan.objects.veth import Veth, VethEnd
from testbed.plan.objects.vxlan import Vxlan
from testbed.plan.objects.wireguard import Wireguard, WireguardPeer

__all__ = [
    "BIRD",
    "BOOT",
    "BPF_FOLDER",
    "FORWARDED",
    "LINKS",
    "LOCAL_TABLE",
    "MAIN_TABLE",
    "OWN_PROGRAMS",
    "PYTHON",
    "TUNNELS",
    "Bpf",
    "BpfEntry",
    "BpfHook",
    "Bridge",
    "Child",
    "Command",
    "CountingMap",
    "CutRoute",
    "Datapath",
    "Device",
    "DeviceAddress",
    "DownDevice",
    "Encapsulation",
    "Esp",
    "FdbEntry",
    "File",
    "Flow",
    "Geneve",
    "IpTunnel",
    "KeyPart",
    "Kind",
    "LearnedRoute",
    "Link",
    "Neighbour",
    "Netem",
    "NextHop",
    "NftTable",
    "Object",
    "OtherLink",
    "Plan",
    "Plugged",
    "Program",
    "Route",
    "RoutingRule",
    "Says",
    "SegmentEnd",
    "SegmentSource",
    "Segments",
    "Signal",
    "Space",
    "Sysctl",
    "TokenBucket",
    "Tun",
    "TunnelKey",
    "TunnelKind",
    "Veth",
    "VethEnd",
    "Vxlan",
    "Wireguard",
    "WireguardPeer",
]
