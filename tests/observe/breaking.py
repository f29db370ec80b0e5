"""Faults for every kind of object of a lab: removed, altered, added."""

import random
from collections.abc import Iterator
from typing import NamedTuple

from testbed.plan.objects import (
    Bridge,
    DeviceAddress,
    FdbEntry,
    Kind,
    Neighbour,
    Plan,
    Route,
    RoutingRule,
    Space,
    Sysctl,
    TokenBucket,
    VethEnd,
    Vxlan,
)
from testbed.plan.objects.kinds import KINDS
from testbed.plan.rulesets import Ruleset
from testbed.plan.rulesets.iptables import lines
from testbed.plan.rulesets.quoting import quoted
from testbed.plan.rulesets.transactions import wholes

_REMOVABLE = (DeviceAddress, Neighbour, FdbEntry, Route, RoutingRule, TokenBucket)


class Fault(NamedTuple):
    """A command that breaks a place."""

    place: str
    command: str


def faults(plan: Plan) -> dict[str, list[Fault]]:
    """All faults of a lab, by the kind of object and what happens to it."""
    found: dict[str, list[Fault]] = {}
    for space in plan.spaces:
        if space.kind in (Kind.CABLE, Kind.ROUTER):
            continue
        for kind, command in _of_space(plan, space):
            found.setdefault(kind, []).append(Fault(space.name, command))
    return found


def chosen(plan: Plan, number: int, seed: int) -> list[Fault]:
    """So many faults of different kinds."""
    by_kind, chance = faults(plan), random.Random(seed)
    return [chance.choice(by_kind[kind]) for kind in chance.sample(sorted(by_kind), number)]


def _of_space(plan: Plan, space: Space) -> Iterator[tuple[str, str]]:
    for kind in _REMOVABLE:
        for item in space.of(kind):
            yield f"{kind.__name__} removed", KINDS[kind].words(item, "del")
    for name, device in plan.devices_of(space.name).items():
        if isinstance(device, VethEnd | Bridge | Vxlan):
            yield from _of_device(name, device)
    yield from _altered(space)
    yield from _added(space, next(iter(plan.devices_of(space.name)), "lo"))
    for backend, whole in wholes(space.of(Ruleset)).items():
        if backend in ("iptables", "ip6tables"):
            rules = [line for line, _ in lines(whole) if " -A " in line]
            yield from (("rule removed", f"{backend} {quoted(line.replace(' -A ', ' -D '))}") for line in rules[:20])
        if backend == "ipset":
            yield from (
                ("set member removed", f"ipset del {quoted(name)} {member.split()[0]}")
                for (_, name), one in whole.sets.items()
                for member in one.members
            )


def _of_device(name: str, device: VethEnd | Bridge | Vxlan) -> Iterator[tuple[str, str]]:
    kind = type(device).__name__
    yield f"{kind} removed", f"ip link del {name}"
    yield f"{kind} down", f"ip link set {name} down"
    yield f"{kind} MTU", f"ip link set {name} mtu {device.mtu - 100}"
    yield f"{kind} small MTU", f"ip link set {name} mtu 1000"
    yield f"{kind} MAC", f"ip link set {name} address 02:00:00:00:00:09"
    yield f"{kind} ARP", f"ip link set {name} arp off"
    yield f"{kind} promiscuous", f"ip link set {name} promisc on"
    yield f"{kind} multicast", f"ip link set {name} multicast off"
    yield f"{kind} alias", f"ip link set {name} alias broken"
    yield f"{kind} renamed", f"ip link set {name} name renamed0"
    yield f"{kind} sysctl", f"sysctl -qw net/ipv4/conf/{name}/arp_ignore=8"
    yield f"{kind} qdisc", f"tc qdisc replace dev {name} root handle 5: htb"
    yield f"{kind} filters", f"tc qdisc add dev {name} clsact"
    if isinstance(device, Bridge):
        yield "Bridge options", f"ip link set {name} type bridge stp_state 1 ageing_time 100"
    if isinstance(device, Vxlan):
        yield (
            "Vxlan made by hand",
            f"sh -c 'ip link del {name}; ip link add {name} type vxlan id 9 dstport 9; ip link set {name} up'",
        )
    if isinstance(device, VethEnd) and device.master:
        for words in ("isolated on", "learning off", "flood off", "hairpin on"):
            yield "port option", f"ip link set {name} type bridge_slave {words}"
        yield "port state", f"bridge link set dev {name} state 0"
        yield "port without bridge", f"ip link set {name} nomaster"
        yield "static FDB entry", f"bridge fdb add 02:00:00:00:00:77 dev {name} master static"


def _altered(space: Space) -> Iterator[tuple[str, str]]:
    for item in space.of(Neighbour):
        yield (
            "Neighbour altered",
            f"ip neighbour replace {item.address} lladdr 02:00:00:00:00:09 dev {item.dev} nud permanent",
        )
    for item in space.of(FdbEntry):
        yield "FdbEntry altered", f"bridge fdb replace {item.mac} dev {item.dev} dst 192.0.2.1 self permanent"
    for item in space.of(Route):
        if item.to.version == 4:
            yield "Route blackholed", f"ip route replace blackhole {item.to} table {item.table}"
            yield "Route with another metric", f"ip route add unreachable {item.to} table {item.table} metric 5"
            yield "Route as local", f"ip route add local {item.to} dev lo table local"
    for item in space.of(Sysctl):
        if item.value in "01" and not item.optional:
            yield "Sysctl altered", f"sysctl -qw {item.key}={1 - int(item.value)}"
    for item in space.of(DeviceAddress):
        one = item.interface
        if one.version == 4:
            yield "local route removed", f"ip route del local {one.ip} dev {item.dev} table local"
            yield (
                "DeviceAddress with another prefix",
                (f"sh -c 'ip address del {one} dev {item.dev}; ip address add {one.ip}/20 dev {item.dev}'"),
            )
            if 8 < one.network.prefixlen < 30:
                other = one.network.broadcast_address - 1
                words = f"{other}/{one.network.prefixlen} dev {item.dev}"
                again = f"ip address add {one} dev {item.dev}"
                yield "DeviceAddress secondary", f"ip address del {one} dev {item.dev}; ip address add {words}; {again}"
    for item in space.of(TokenBucket):
        yield "TokenBucket altered", f"tc qdisc replace dev {item.dev} root tbf rate 1mbit burst 10k limit 100k"


def _added(space: Space, dev: str) -> Iterator[tuple[str, str]]:
    del space
    yield "device added", "ip link add extra0 type bridge"
    yield (
        "pair added",
        "sh -c 'ip link add extra1 type veth peer name extra2; ip link set extra1 up; ip link set extra2 up'",
    )
    yield "address added", "ip address add 203.0.113.7/24 dev lo"
    yield "address added to a device", f"ip address add 203.0.113.7/24 dev {dev}"
    yield "route added", f"ip link set {dev} up; ip route add 10.99.0.0/16 dev {dev} metric 7"
    yield "route refused", "ip route add prohibit 10.98.0.0/16 table 77"
    yield "routing rule added", "ip rule add from 10.97.0.0/16 blackhole priority 97"
    yield "routing rule by port", "ip rule add ipproto tcp dport 80 lookup 97 priority 98"
    yield "default rule removed", "ip rule del priority 32766"
    yield "neighbour added", f"ip neighbour replace 10.96.0.1 lladdr 02:00:00:00:00:09 dev {dev} nud permanent"
    yield "proxy neighbour added", f"ip neighbour add proxy 10.96.0.2 dev {dev}"
    yield "table added", "nft add table inet mine '{ chain in { type filter hook input priority 0; policy drop; }; }'"
    yield "rule added", "iptables -I INPUT -p udp --dport 7 -j DROP"
    yield "rule added and chain", "iptables -N MINE; iptables -A MINE -j DROP; iptables -I FORWARD -j MINE"
    yield "policy altered", "iptables -P FORWARD DROP"
    yield "rule of NAT added", "iptables -t nat -A POSTROUTING -s 10.95.0.0/16 -j MASQUERADE"
    yield "rule of iptables-legacy added", "iptables-legacy -A INPUT -p udp --dport 9 -j DROP"
    yield "set added", "ipset create mine hash:ip"
    yield "sysctl of the namespace", "sysctl -qw net.ipv4.conf.all.arp_ignore=8"
    yield "forwarding", "sysctl -qw net.ipv4.ip_forward=$((1 - $(sysctl -n net.ipv4.ip_forward)))"
    yield "pings ignored", "sysctl -qw net.ipv4.icmp_echo_ignore_all=1"
    yield "IPsec policy added", "ip xfrm policy add src 10.94.0.0/16 dst 10.93.0.0/16 dir out action block"
    yield "loopback down", "ip link set lo down"
    yield "loopback address added", "ip address add 127.0.0.9/8 dev lo"
