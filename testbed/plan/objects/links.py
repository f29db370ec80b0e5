"""The kinds of devices; each has its own file."""

from collections.abc import Mapping
from typing import Any

from testbed.plan.objects.bridge import BRIDGES, Bridge
from testbed.plan.objects.child import Child
from testbed.plan.objects.datapath import DATAPATHS, Datapath
from testbed.plan.objects.geneve import GENEVES, Geneve
from testbed.plan.objects.ip_tunnel import IP_TUNNELS, IpTunnel
from testbed.plan.objects.link_kind import LinkKind
from testbed.plan.objects.other_link import OTHER_LINKS, OtherLink
from testbed.plan.objects.tun import TUNS, Tun
from testbed.plan.objects.veth import VethEnd
from testbed.plan.objects.vxlan import VXLANS, Vxlan
from testbed.plan.objects.wireguard import WIREGUARDS, Wireguard

Link = Bridge | Vxlan | Geneve | IpTunnel | Wireguard | Tun | OtherLink | Datapath
Device = Link | VethEnd | Child
LINK_KINDS: Mapping[type, LinkKind[Any]] = {
    kind.type: kind for kind in (BRIDGES, VXLANS, GENEVES, IP_TUNNELS, WIREGUARDS, TUNS, OTHER_LINKS, DATAPATHS)
}
"""Kinds of the devices that are not shared by two namespaces, by type."""
LINKS = (Bridge, Vxlan, Geneve, IpTunnel, Wireguard, Tun, OtherLink, Datapath)
"""The types of `Link`."""
TUNNELS = tuple(kind.type for kind in LINK_KINDS.values() if kind.is_tunnel)
"""The types of devices that encapsulate their packets."""
