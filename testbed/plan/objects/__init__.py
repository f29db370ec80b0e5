"""The kernel objects of a plan, as small frozen dataclasses.

Names and fields follow `ip`, `bridge`, `tc` and `sysctl`. A plan is complete: `testbed.kernel`, or a user with the
commands of `testbed.plan.shell`, builds it without further decisions.

Every device has an `index`, its number in the kernel, unique over all spaces of the plan. So building a lab needs no
lookups, and the two ends of a veth pair have different numbers: the kernel treats a veth with the number of its peer as
one without a peer, and may notify its bridge of the carrier a second late (`linkwatch_urgent_event`).
"""

from testbed.plan.objects.addresses import DeviceAddress
from testbed.plan.objects.bridge import Bridge
from testbed.plan.objects.child import Child
from testbed.plan.objects.datapath import Datapath, Flow
from testbed.plan.objects.encapsulation import Encapsulation, SegmentEnd, Segments, TunnelKey
from testbed.plan.objects.entries import DownDevice, Esp, NftTable, Other, SegmentSource, Sysctl
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
    "Other",
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
