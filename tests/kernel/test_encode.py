"""Netlink messages are decoded by pyroute2 as intended."""

import ipaddress
import socket
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2 import netlink
from pyroute2.netlink import rtnl
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg
from pyroute2.netlink.rtnl.tcmsg import tcmsg

from testbed.kernel import encode
from testbed.kernel.netlink import HEADER
from testbed.plan import messages, uapi
from testbed.plan.messages import Request
from testbed.plan.objects import (
    Bridge,
    Child,
    Datapath,
    DeviceAddress,
    FdbEntry,
    Geneve,
    IpTunnel,
    Link,
    Neighbour,
    Netem,
    NextHop,
    OtherLink,
    Route,
    TokenBucket,
    Tun,
    TunnelKey,
    TunnelKind,
    VethEnd,
    Vxlan,
    addresses,
    child,
    fdb,
    neighbours,
    netem,
    queues,
    routes,
    token_bucket,
)
from testbed.plan.objects.links import LINK_KINDS
from testbed.plan.shell import FLOODED

INDEX = st.integers(1, 2**31 - 1)
NAME = st.text("abcdefghijklmnopqrstuvwxyz0123456789-._", min_size=1, max_size=15)
MAC = st.binary(min_size=6, max_size=6).map(lambda raw: raw.hex(":"))
MTU = st.integers(68, 65535)
ADDRESS = st.ip_addresses()
INTERFACE = st.builds(
    lambda address, cut: ipaddress.ip_interface((address, address.max_prefixlen - cut)), ADDRESS, st.integers(0, 32)
)
NETWORK = INTERFACE.map(lambda interface: interface.network)


def read(message: type[Any], request: Request) -> Any:
    """The request, decoded by pyroute2."""
    assert len(request.body) % 4 == 0
    header = HEADER.pack(HEADER.size + len(request.body), request.kind, request.flags, 1, 0)
    found = message(header + request.body)
    found.decode()
    assert len(request.command()) > 3
    return found


def nested(of: Any, *names: str) -> Any:
    return of.get_nested(*names)


@given(st.builds(Bridge, NAME, INDEX, MAC, MTU))
def test_bridge(link: Bridge) -> None:
    found = read(ifinfmsg, encode.new_link(link))
    got = {name: found.get_attr(f"IFLA_{name}") for name in ("IFNAME", "ADDRESS", "MTU")}
    assert got == {"IFNAME": link.name, "ADDRESS": link.mac, "MTU": link.mtu}
    assert (found["index"], found["flags"] & 1, found["change"] & 1) == (link.index, 1, 1)
    assert nested(found, "IFLA_LINKINFO", "IFLA_INFO_KIND") == "bridge"
    assert nested(found, "IFLA_LINKINFO", "IFLA_INFO_DATA", "IFLA_BR_STP_STATE") == 0
    assert nested(found, "IFLA_LINKINFO", "IFLA_INFO_DATA", "IFLA_BR_FORWARD_DELAY") == 0


@given(
    st.builds(Vxlan, NAME, INDEX, MAC, MTU, st.integers(0, 2**24 - 1), st.integers(1, 65535), ADDRESS, st.booleans())
)
def test_vxlan(link: Vxlan) -> None:
    data = nested(read(ifinfmsg, encode.new_link(link)), "IFLA_LINKINFO", "IFLA_INFO_DATA")
    local = "IFLA_VXLAN_LOCAL" if link.local.version == 4 else "IFLA_VXLAN_LOCAL6"
    assert data.get_attr("IFLA_VXLAN_ID") == link.vni
    assert data.get_attr("IFLA_VXLAN_PORT") == link.port
    assert ipaddress.ip_address(data.get_attr(local)) == link.local
    assert data.get_attr("IFLA_VXLAN_LEARNING") == link.learning


@given(INDEX)
def test_the_device_below_a_vxlan(index: int) -> None:
    link = Vxlan("flannel.1", 100, "02:00:00:00:00:01", 1450, 1, 8472, ipaddress.ip_address("192.0.2.1"), dev="eth0")
    found = read(ifinfmsg, encode.new_link(link, {"eth0": index}.__getitem__))
    data = nested(found, "IFLA_LINKINFO", "IFLA_INFO_DATA")
    assert (data.get_attr("IFLA_VXLAN_LINK"), data.get_attr("IFLA_VXLAN_GROUP")) == (index, None)


@given(
    st.builds(VethEnd, NAME, NAME, INDEX, MAC, MTU),
    st.builds(VethEnd, NAME, NAME, INDEX, MAC, MTU),
    st.integers(3, 2**20),
    st.none() | INDEX,
)
def test_veth(here: VethEnd, there: VethEnd, descriptor: int, master: int | None) -> None:
    found = read(ifinfmsg, encode.new_veth(here, there, descriptor, master))
    assert (found["index"], found.get_attr("IFLA_IFNAME"), found.get_attr("IFLA_MASTER")) == (
        *(here.index, here.name),
        master,
    )
    assert nested(found, "IFLA_LINKINFO", "IFLA_INFO_KIND") == "veth"
    peer = nested(found, "IFLA_LINKINFO", "IFLA_INFO_DATA", "VETH_INFO_PEER")
    assert (peer["index"], peer.get_attr("IFLA_IFNAME"), peer.get_attr("IFLA_MTU")) == (
        *(there.index, there.name),
        there.mtu,
    )
    assert (peer.get_attr("IFLA_ADDRESS"), peer.get_attr("IFLA_NET_NS_FD")) == (there.mac, descriptor)


@pytest.mark.parametrize(("is_netkit", "kind"), [(False, "type veth peer name"), (True, "type netkit mode l3 peer")])
def test_the_command_of_a_pair_names_its_kind(is_netkit: bool, kind: str) -> None:
    here, there = (VethEnd(f"space{n}", f"v{n}", 200 + n, "", 1400) for n in range(2))
    command = encode.new_veth(here, there, 3, None, is_netkit).command()
    assert f"ip link add v0 index 200 netns space0 mtu 1400 {kind} v1 index 201 netns space1 mtu 1400" == command


@pytest.mark.parametrize(
    "link",
    [Tun("tun0", 7, 1400), OtherLink("ifb0", 7, "", 1500, "ifb"), Datapath("dp", 7, "02:00:00:00:00:01", 1500, (), ())],
)
def test_a_device_that_netlink_does_not_make_is_refused_by_name(link: Link) -> None:
    message = f"{link.name}: netlink does not make devices of the kind {type(link).__name__}"
    with pytest.raises(encode.NotByNetlink, match=message):
        encode.new_link(link)


V4, V6 = st.ip_addresses(v=4), st.ip_addresses(v=6)
PORT = st.integers(1, 65535)
VXLAN = st.builds(
    Vxlan,
    *(NAME, INDEX, MAC, MTU, st.integers(1, 2**24 - 1), PORT, ADDRESS, st.booleans(), st.booleans()),
    dev=st.sampled_from(("", "eth0")),
)
IP_TUNNEL = st.one_of(
    st.builds(IpTunnel, NAME, INDEX, MTU, kind, local, st.none() | local)
    for kind, local in (
        (st.sampled_from((TunnelKind.IPIP, TunnelKind.GRE)), V4),
        (st.sampled_from((TunnelKind.IP6TNL, TunnelKind.IP6GRE)), V6),
    )
)


@given(VXLAN | st.builds(Geneve, NAME, INDEX, MAC, MTU, PORT) | IP_TUNNEL)
def test_tunnel_parameters_are_read_back(link: Link) -> None:
    kind = LINK_KINDS[type(link)]
    assert kind.data
    data = messages.attributes(memoryview(kind.data(link, {"eth0": 7}.__getitem__)))
    assert kind.read(kind.kernel_name(link), data, {7: "eth0"}) == kind.planned(link)


@given(st.sampled_from((("macvlan", "bridge"), ("macvlan", "vepa"), ("ipvlan", "l2"), ("ipvlan", "l3s"))))
def test_the_mode_of_a_child_device_is_read_back(kind_and_mode: tuple[Any, Any]) -> None:
    made = Child("pod", "eth0", 7, "", 1400, *kind_and_mode, "node", "eth0")
    assert child.mode_in(made.kind, messages.attributes(memoryview(child.child_data(made)))) == made.mode


@given(INDEX, st.none() | INDEX)
def test_link_up(index: int, master: int | None) -> None:
    found = read(ifinfmsg, encode.link_up(index, master))
    assert (found["index"], found["flags"], found["change"], found.get_attr("IFLA_MASTER")) == (index, 1, 1, master)


@given(st.builds(DeviceAddress, NAME, INTERFACE), INDEX)
def test_address(item: DeviceAddress, index: int) -> None:
    found = read(ifaddrmsg, addresses.new_address(item, index))
    assert (found["index"], found["prefixlen"]) == (index, item.interface.network.prefixlen)
    assert ipaddress.ip_address(found.get_attr("IFA_LOCAL")) == item.interface.ip
    assert ipaddress.ip_address(found.get_attr("IFA_ADDRESS")) == item.interface.ip
    assert found["family"] == messages.family(item.interface)


@given(st.builds(Neighbour, ADDRESS, MAC, NAME), INDEX)
def test_neighbour(item: Neighbour, index: int) -> None:
    found = read(ndmsg, neighbours.new_neighbour(item, index))
    assert (found["ifindex"], found["state"]) == (index, 0x80)
    assert ipaddress.ip_address(found.get_attr("NDA_DST")) == item.address
    assert found.get_attr("NDA_LLADDR") == item.mac


@given(st.builds(FdbEntry, MAC, NAME, ADDRESS), INDEX)
def test_fdb_entry(item: FdbEntry, index: int) -> None:
    found = read(ndmsg, fdb.new_fdb_entry(item, index))
    assert (found["family"], found["ifindex"], found["state"], found["flags"]) == (socket.AF_BRIDGE, index, 0xC0, 2)
    assert found.get_attr("NDA_LLADDR") == item.mac


@given(st.builds(Route, NETWORK, NAME, st.none() | ADDRESS, st.booleans()), INDEX)
def test_route(item: Route, index: int) -> None:
    if item.via is not None and item.via.version != item.to.version:
        return
    found = read(rtmsg, routes.new_route(item, lambda _: index))
    assert (found["dst_len"], found["table"], found["type"], found["proto"]) == (item.to.prefixlen, 254, 1, 3)
    assert found["flags"] == (4 if item.onlink else 0)
    assert found.get_attr("RTA_OIF") == index
    to, via = found.get_attr("RTA_DST"), found.get_attr("RTA_GATEWAY")
    assert (to and ipaddress.ip_address(to)) == (item.to.network_address if item.to.prefixlen else None)
    assert (via and ipaddress.ip_address(via)) == item.via


@given(NETWORK, st.lists(st.tuples(ADDRESS, INDEX), min_size=2, max_size=8), st.none() | ADDRESS)
def test_route_with_several_next_hops(to: Any, hops: list[tuple[Any, int]], source: Any) -> None:
    hops = [(via, index) for via, index in hops if via.version == to.version]
    source = source if source is None or source.version == to.version else None
    if not hops:
        return
    ways = tuple(NextHop(via, str(index)) for via, index in hops)
    found = read(rtmsg, routes.new_route(Route(to, "", nexthops=ways, source=source), int))
    assert found.get_attr("RTA_OIF") is None
    assert found.get_attr("RTA_PREFSRC") == (str(source) if source else None)
    read_back = [
        (hop["oif"], ipaddress.ip_address(hop.get_attr("RTA_GATEWAY"))) for hop in found.get_attr("RTA_MULTIPATH")
    ]
    assert read_back == [(index, via) for via, index in hops]


@given(NETWORK)
def test_blackhole(to: Any) -> None:
    found = read(rtmsg, routes.new_route(Route(to, "", blackhole=True), int))
    assert (found["type"], found["dst_len"], found.get_attr("RTA_OIF")) == (6, to.prefixlen, None)


@given(ADDRESS, ADDRESS, st.integers(0, 2**24 - 1))
def test_route_into_a_tunnel(source: Any, target: Any, number: int) -> None:
    if source.version != target.version:
        return
    to = ipaddress.ip_network("10.0.0.0/8")
    found = read(rtmsg, routes.new_route(Route(to, "t", encap=TunnelKey(number, source, target)), lambda _: 7))
    assert found.get_attr("RTA_ENCAP_TYPE") == (2 if target.version == 4 else 4)


@given(INTERFACE, INDEX)
def test_address_without_a_route(interface: Any, index: int) -> None:
    found = read(ifaddrmsg, addresses.new_address(DeviceAddress("eth0", interface, noprefixroute=True), index))
    assert found.get_attr("IFA_FLAGS") == 0x200 | (0x2 if interface.version == 6 else 0)


@given(st.lists(st.builds(FdbEntry, st.just(FLOODED), NAME, ADDRESS), min_size=1, max_size=3), INDEX)
def test_flooding_entries_are_appended(items: list[FdbEntry], index: int) -> None:
    assert {fdb.new_fdb_entry(item, index).flags & 0xF00 for item in items} == {0x400 | 0x800}


@given(
    st.integers(0, 10**7),
    st.integers(0, 10**6),
    *[st.floats(0, 1)] * 2,
    st.integers(1, 10**6),
)
def test_netem(delay: int, jitter: int, loss: float, duplicate: float, limit: int) -> None:
    found = read(tcmsg, netem.new_netem(Netem("eth0", delay, jitter, loss, duplicate, 0.25, limit), 9))
    options = found.get_attr("TCA_OPTIONS")
    assert (found["index"], found.get_attr("TCA_KIND"), options["limit"]) == (9, "netem", limit)
    assert options["loss"] / 0xFFFFFFFF == pytest.approx(loss, abs=1e-9)
    assert options["duplicate"] / 0xFFFFFFFF == pytest.approx(duplicate, abs=1e-9)
    assert options.get_attr("TCA_NETEM_REORDER")["prob_reorder"] / 0xFFFFFFFF == pytest.approx(0.25, abs=1e-9)


@pytest.mark.parametrize(
    ("kind", "mode", "value"),
    [
        *(("macvlan", mode, value) for mode, value in (("private", 1), ("vepa", 2), ("bridge", 4), ("passthru", 8))),
        *(("ipvlan", mode, value) for mode, value in (("l2", 0), ("l3", 1), ("l3s", 2))),
    ],
)
def test_child(kind: Any, mode: Any, value: int) -> None:
    mac = "02:00:00:00:00:01" if kind == "macvlan" else ""
    found = read(ifinfmsg, encode.new_child(Child("pod", "eth0", 7, mac, 1400, kind, mode, "node", "eth0"), 5, 33))
    assert (found.get_attr("IFLA_LINK"), found.get_attr("IFLA_NET_NS_FD")) == (5, 33)
    assert (found.get_attr("IFLA_MTU"), found.get_attr("IFLA_ADDRESS")) == (1400, mac or None)
    data = nested(found, "IFLA_LINKINFO", "IFLA_INFO_DATA")
    assert data.get_attr("IFLA_MACVLAN_MODE" if kind == "macvlan" else "IFLA_IPVLAN_MODE") in (value, mode)


@pytest.mark.parametrize("rate", [10**6, 10**9, 10**10])
def test_token_bucket(rate: int) -> None:
    found = read(tcmsg, token_bucket.new_token_bucket(TokenBucket("eth0", rate, 125_000, 250_000), 7))
    parameters = nested(found, "TCA_OPTIONS", "TCA_TBF_PARMS")
    assert (found["index"], found.get_attr("TCA_KIND"), parameters["rate"], parameters["limit"]) == (
        *(7, "tbf", rate // 8),
        250_000,
    )
    assert parameters["buffer"] * queues.NS_PER_TICK * (rate // 8) // 10**9 == pytest.approx(125_000, rel=0.01)


def test_constants_equal_pyroute2s() -> None:
    theirs: dict[str, object] = {}
    for module in (netlink, rtnl, rtnl.ifinfmsg, rtnl.ifaddrmsg, rtnl.ndmsg, rtnl.rtmsg, rtnl.tcmsg):
        theirs |= vars(module)
    ours = {name: value for name, value in vars(uapi).items() if name.isupper()}
    unknown = {name: ours.pop(name) for name in [*ours] if name.startswith("TC_H_MIN_")}
    assert len(ours) > 20
    assert ours == {name: theirs[name] for name in ours}
    # pyroute2 has these numbers, but no names.
    parents = {unknown[f"TC_H_MIN_{way}"] | 0xFFFF0000 for way in ("INGRESS", "EGRESS")}
    assert parents == {0xFFFFFFF2, 0xFFFFFFF3}


def test_bringing_up_a_lab_does_not_load_pyroute2() -> None:
    code = "import sys, testbed.cli.up, testbed.lab.keeper; sys.exit('pyroute2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
