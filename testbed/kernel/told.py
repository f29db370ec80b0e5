"""What programs tell the kernel, as it has no words for it in route netlink: keys, rules, segment routing's source.

Keys are made for one lab, and nobody else ever has them.
"""

import base64
import secrets
from collections.abc import Mapping
from ipaddress import ip_address

from testbed.kernel import rulesets
from testbed.kernel.namespace import Namespace
from testbed.kernel.tools import call
from testbed.plan.objects import Esp, Plan, SegmentSource, Wireguard
from testbed.plan.rulesets import Ruleset
from testbed.plan.shell import esp_key_bytes, esp_words, segment_source_words


def tell_by_programs(plan: Plan, namespaces: Mapping[str, Namespace]) -> None:
    """Gives all devices and addresses that encrypt their keys, and tells them those of the others; and the like.

    By wg(8), ip-xfrm(8), ip-sr(8), ipset(8) and iptables-restore(8), of which there are one or two calls a node.
    """
    _wireguard(plan, namespaces)
    _esp(plan, namespaces)
    for space in plan.spaces:
        for source in space.of(SegmentSource):
            _run(namespaces[space.name], ["ip", *segment_source_words(source).split()])
        if parts := space.of(Ruleset):
            with namespaces[space.name].entered():
                rulesets.load(parts)


def _wireguard(plan: Plan, namespaces: Mapping[str, Namespace]) -> None:
    ends = [(space.name, link) for space in plan.spaces for link in space.links if isinstance(link, Wireguard)]
    public: dict[tuple[str, str], str] = {}
    """By space and device."""
    for space, link in ends:
        key = base64.b64encode(secrets.token_bytes(32)).decode()
        mark = ["fwmark", f"{link.mark:#x}"] if link.mark else []
        port = ["listen-port", str(link.port)]
        _run(namespaces[space], ["wg", "set", link.name, "private-key", "/dev/stdin", *port, *mark], key)
        public[space, link.name] = _run(namespaces[space], ["wg", "show", link.name, "public-key"]).strip()
    for space, link in ends:
        command = ["wg", "set", link.name]
        for peer in link.peers:
            endpoint = f"[{peer.endpoint}]" if peer.endpoint.version == 6 else str(peer.endpoint)
            allowed = ",".join(map(str, peer.allowed))
            command += [
                "peer",
                public[peer.space, link.name],
                "endpoint",
                f"{endpoint}:{link.port}",
                "allowed-ips",
                allowed,
            ]
        if link.peers:
            _run(namespaces[space], command)


def _esp(plan: Plan, namespaces: Mapping[str, Namespace]) -> None:
    keys: dict[int, str] = {}
    for space in plan.spaces:
        for item in space.of(Esp):
            for spi in (item.spi_out, item.spi_in):
                keys.setdefault(spi, f"0x{secrets.token_hex(esp_key_bytes(item))}")
        # What ip reads from a file is split at blanks, without a shell's quotes.
        lines = [words.replace("'", "") for item in space.of(Esp) for words in esp_words(item, keys.__getitem__)]
        if lines:
            _run(namespaces[space.name], ["ip", "-batch", "-"], "\n".join(lines) + "\n")


def try_esp() -> None:
    """Raises ToolFailed if the calling thread's namespace cannot have what `esp` of a plan is."""
    pairs = (("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2"))
    items = [Esp(ip_address(one), ip_address(other), 4790, 1, 2) for one, other in pairs]
    key = f"0x{'00' * esp_key_bytes(items[0])}"
    lines = [words for item in items for words in esp_words(item, lambda _: key)]
    call(["ip", "-batch", "-"], "\n".join(lines).replace("'", "") + "\n")


def _run(namespace: Namespace, command: list[str], said: str = "") -> str:
    with namespace.entered():
        return call(command, said)
