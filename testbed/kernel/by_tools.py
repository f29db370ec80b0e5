"""Apply by tools what route netlink cannot: keys, rulesets, the source of segment routing.

Keys are made for one lab and not stored.
"""

import base64
import secrets
from collections.abc import Collection, Iterable, Mapping
from ipaddress import ip_address
from typing import Any, Protocol, TypeVar

from testbed.kernel.namespace import Namespace
from testbed.kernel.tools import call
from testbed.plan.objects import Device, Esp, Plan, SegmentSource, Space, Wireguard
from testbed.plan.rulesets import Ruleset
from testbed.plan.shell import esp_key_bytes, esp_words, no_esp_words, segment_source_words

T = TypeVar("T")


class Work(Protocol):
    """The changes in one space."""

    removed: list[Any]
    replaced: list[tuple[Any, Any]]

    def coming(self, kind: type[T]) -> tuple[T, ...]:
        """The objects of that type that are made or replace another."""
        ...


def apply_by_tools(
    works: Mapping[str, Work],
    changing: Iterable[tuple[str, object, object]],
    made: Mapping[str, Mapping[str, Device]],
    before: Mapping[str, Space],
    plan: Plan,
    namespaces: Mapping[str, Namespace],
) -> None:
    """Set the keys of WireGuard and IPsec, the source of segment routing, and rulesets.

    `works` are the changes by space, `changing` the devices that stay, `made` the names of new devices, `before` the
    old state of spaces that stay. Uses wg(8), ip-xfrm(8), ip-sr(8) and the tools of rulesets, with one or two calls for
    each node. Raises ToolFailed.
    """
    changed = {(space, new.name) for space, _, new in changing if isinstance(new, Wireguard)}
    _wireguard(plan, made, changed, namespaces)
    _esp(works, namespaces)
    for space, work in works.items():
        for source in work.coming(SegmentSource):
            _run(namespaces[space], ["ip", *segment_source_words(source).split()])
        if work.coming(Ruleset) or any(isinstance(item, Ruleset) for item in work.removed):
            _rules(namespaces[space], before.get(space), plan[space])


def _rules(namespace: Namespace, before: Space | None, space: Space) -> None:
    from testbed.kernel import rulesets  # Most labs do not need it.

    with namespace.entered():
        if before:
            rulesets.change(before.of(Ruleset), space.of(Ruleset))
        else:
            rulesets.load(space.of(Ruleset))


def _wireguard(
    plan: Plan,
    made: Mapping[str, Mapping[str, Device]],
    changed: Collection[tuple[str, str]],
    namespaces: Mapping[str, Namespace],
) -> None:
    """Give new devices a key, and set the peers of devices with a new or changed peer."""
    fresh = {(space, name) for space, devices in made.items() for name in devices if type(devices[name]) is Wireguard}
    if not fresh and not changed:
        return
    ends = [(space.name, link) for space in plan.spaces for link in space.of(Wireguard)]
    for space, link in ends:
        if (space, link.name) in fresh:
            key = base64.b64encode(secrets.token_bytes(32)).decode()
            mark = ["fwmark", f"{link.mark:#x}"] if link.mark else []
            port = ["listen-port", str(link.port)]
            _run(namespaces[space], ["wg", "set", link.name, "private-key", "/dev/stdin", *port, *mark], key)
    to_set = [
        (space, link)
        for space, link in ends
        if (space, link.name) in fresh
        or (space, link.name) in changed
        or any((peer.space, link.name) in fresh for peer in link.peers)
    ]
    public: dict[tuple[str, str], str] = {}
    """By space and device."""
    for space, link in to_set:
        command = ["wg", "set", link.name]
        for peer in link.peers:
            place = peer.space, link.name
            if place not in public:
                public[place] = _run(namespaces[peer.space], ["wg", "show", link.name, "public-key"]).strip()
            endpoint = f"[{peer.endpoint}]" if peer.endpoint.version == 6 else str(peer.endpoint)
            allowed = ",".join(map(str, peer.allowed))
            command += ["peer", public[place], "endpoint", f"{endpoint}:{link.port}", "allowed-ips", allowed]
        if (space, link.name) not in fresh:
            known = {public[peer.space, link.name] for peer in link.peers}
            for key in _run(namespaces[space], ["wg", "show", link.name, "peers"]).split():
                command += ["peer", key, "remove"] if key not in known else []
        if len(command) > 3:
            _run(namespaces[space], command)


def _esp(works: Mapping[str, Work], namespaces: Mapping[str, Namespace]) -> None:
    keys: dict[int, str] = {}
    for space, work in works.items():
        going = [item for item in work.removed if isinstance(item, Esp)]
        going += [old for old, _ in work.replaced if isinstance(old, Esp)]
        coming = work.coming(Esp)
        for item in coming:
            for spi in (item.spi_out, item.spi_in):
                keys.setdefault(spi, f"0x{secrets.token_hex(esp_key_bytes(item))}")
        lines = [words for item in going for words in no_esp_words(item)]
        # `ip -batch` splits lines at blanks and knows no quotes.
        lines += [words.replace("'", "") for item in coming for words in esp_words(item, keys.__getitem__)]
        if lines:
            _run(namespaces[space], ["ip", "-batch", "-"], "\n".join(lines) + "\n")


def try_esp() -> None:
    """Raises ToolFailed if the kernel does not support the IPsec associations of plans."""
    pairs = (("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2"))
    items = [Esp(ip_address(one), ip_address(other), 4790, 1, 2) for one, other in pairs]
    key = f"0x{'00' * esp_key_bytes(items[0])}"
    lines = [words for item in items for words in esp_words(item, lambda _: key)]
    call(["ip", "-batch", "-"], "\n".join(lines).replace("'", "") + "\n")


def _run(namespace: Namespace, command: list[str], text: str = "") -> str:
    with namespace.entered():
        return call(command, text)
