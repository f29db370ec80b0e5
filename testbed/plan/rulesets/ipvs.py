"""Virtual services of IPVS and their real servers, as ipvsadm(8) saves and restores them.

A service is a set: its name is the address (`-t 10.96.0.10:80`, `-u`, `-f MARK`), its kind the scheduler (`-s rr`),
its members the real servers (`-r 10.244.0.2:8080 -m -w 1`).
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv6Address
from typing import Literal

from testbed.plan.rulesets.merge import Whole, WholeSet
from testbed.plan.rulesets.parts import Set
from testbed.spec.types import Address

_PROTOCOLS = {"tcp": "-t", "udp": "-u", "sctp": "--sctp-service"}


def service(
    protocol: Literal["tcp", "udp", "sctp"],
    address: Address,
    port: int,
    servers: Iterable[str],
    scheduler: str = "rr",
    affinity_s: int = 0,
) -> Set:
    """A virtual service. With `affinity_s` a client keeps its server for that many seconds."""
    stays = f" -p {affinity_s}" if affinity_s else ""
    return Set(f"{_PROTOCOLS[protocol]} {_place(address, port)}", f"-s {scheduler}{stays}", tuple(servers))


def server(address: Address, port: int, weight: int = 1) -> str:
    """A real server, reached by NAT (masquerading); with weight 0 it gets no new connections."""
    return f"-r {_place(address, port)} -m -w {weight}"


def listed(text: str) -> Whole:
    """Parse the output of `ipvsadm --save --numeric`."""
    kinds: dict[str, str] = {}
    members: dict[str, list[str]] = {}
    for line in text.splitlines():
        verb, kind, address, rest = line.split(" ", 3)
        name = f"{kind} {address}"
        if verb == "-A":
            kinds[name] = rest
        else:
            members.setdefault(name, []).append(rest)
    return Whole(
        "ipvs", sets={("", name): WholeSet(kind, tuple(members.get(name, ()))) for name, kind in kinds.items()}
    )


def text(whole: Whole) -> str:
    """The text that replaces all services."""
    return "-C\n" + difference(Whole("ipvs"), whole)


def difference(old: Whole, new: Whole) -> str:
    """The changed services and servers, for `ipvsadm --restore`."""
    return "".join(f"{line}\n" for line in _changes(old, new))


def lines(whole: Whole) -> Iterator[tuple[str, str]]:
    """Every service and server in the syntax of ipvsadm, each with its owner; sorted."""
    found = []
    for (_, name), one in whole.sets.items():
        found.append((f"-A {name} {one.kind}", one.owner))
        found += ((f"-a {name} {member}", one.owner) for member in one.members)
    return iter(sorted(found))


def _place(address: Address, port: int) -> str:
    return f"[{address}]:{port}" if isinstance(address, IPv6Address) else f"{address}:{port}"


def _changes(old: Whole, new: Whole) -> Iterator[str]:
    yield from (f"-D {key[1]}" for key in old.sets if key not in new.sets)
    for key, one in new.sets.items():
        name, before = key[1], old.sets.get(key)
        if before is None or before.kind != one.kind:
            yield f"{'-E' if before else '-A'} {name} {one.kind}"
        there, wanted = _servers(before.members if before else ()), _servers(one.members)
        yield from (f"-d {name} -r {server}" for server in there if server not in wanted)
        for each, words in wanted.items():
            if there.get(each) != words:
                yield f"{'-e' if each in there else '-a'} {name} {words}"


def _servers(members: Iterable[str]) -> dict[str, str]:
    """By address and port."""
    return {member.split()[1]: member for member in members}
