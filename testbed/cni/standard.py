"""The standard CNI plugins: what each requires of the kernel, and the keys whose values must be numbers or switches."""

import ipaddress
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from testbed.cni.model import Network
from testbed.spec.design import PLUGINS
from testbed.spec.problems import Loc, Misfit


@dataclass(frozen=True)
class Standard:
    """A standard plugin."""

    features: tuple[str, ...] = ()
    """Kernel features, see `testbed.kernel.features`."""
    features_by_key: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Further features, if a key is set."""
    programs: tuple[str, ...] = ()
    """System programs that it calls, see `testbed.kernel.programs`."""
    programs_by_key: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    numbers: tuple[str, ...] = ()
    """Keys whose values are numbers."""
    switches: tuple[str, ...] = ()
    """Keys whose values are true or false."""
    outlives: bool = False
    """Whether it leaves something outside of the network namespaces and files of its node."""


OWN_FOLDER = str(Path(__file__).parent / "plugins")
"""The folder of the plugin `flannel`, which is not in Debian."""
FOLDERS = (OWN_FOLDER, PLUGINS)
_IPTABLES = ("iptables", "ip6tables")
_MASKING = {"ipMasq": _IPTABLES}
_RATES = ("ingressRate", "ingressBurst", "egressRate", "egressBurst")
STANDARD: Mapping[str, Standard] = {
    "bandwidth": Standard(features_by_key={"ingressRate": ("tbf",), "egressRate": ("tbf", "ifb")}, numbers=_RATES),
    "bridge": Standard(
        ("veth", "bridge"),
        {"vlan": ("bridge-vlan",), "vlanTrunk": ("bridge-vlan",), "macspoofchk": ("nftables",)},
        programs_by_key=_MASKING,
        numbers=("mtu", "vlan"),
        switches=(
            *("isGateway", "isDefaultGateway", "forceAddress", "ipMasq", "hairpinMode", "promiscMode", "enabledad"),
            *("macspoofchk", "preserveDefaultVlan", "disableContainerInterface", "portIsolation"),
        ),
    ),
    "dhcp": Standard(outlives=True),
    "dummy": Standard(("dummy",)),
    "firewall": Standard(programs=_IPTABLES),
    "flannel": Standard(),
    "host-device": Standard(),
    "host-local": Standard(),
    "ipvlan": Standard(("ipvlan",), numbers=("mtu",), switches=("linkInContainer",)),
    "loopback": Standard(),
    "macvlan": Standard(("macvlan",), numbers=("mtu",), switches=("linkInContainer",)),
    "portmap": Standard(programs=_IPTABLES, numbers=("markMasqBit",), switches=("snat", "masqAll")),
    "ptp": Standard(("veth",), programs_by_key=_MASKING, numbers=("mtu",), switches=("ipMasq",)),
    "sbr": Standard(),
    "static": Standard(),
    "tap": Standard(("tun",), numbers=("mtu", "owner", "group"), switches=("multiQueue",)),
    "tuning": Standard(numbers=("mtu", "txQLen"), switches=("promisc", "allmulti")),
    "vlan": Standard(("vlan",), numbers=("mtu", "vlanId"), switches=("linkInContainer",)),
    "vrf": Standard(("vrf",), numbers=("table",)),
}


class Part(NamedTuple):
    """A plugin's object in a configuration."""

    type: str
    file: str
    loc: Loc
    keys: Mapping[str, Any]


def parts(network: Network) -> Iterator[Part]:
    """The plugins of a network, with those that they delegate to and those that allocate addresses."""
    for plugin in network.plugins:
        yield Part(plugin.type, plugin.file, plugin.loc, plugin.keys)
        if plugin.type == "flannel":
            own = plugin.keys.get("delegate")
            keys = own if isinstance(own, dict) else {}
            yield Part(str(keys.get("type", "bridge")), plugin.file, (*plugin.loc, "delegate"), keys)
        if plugin.ipam:
            yield Part(plugin.ipam, plugin.file, (*plugin.loc, "ipam"), plugin.keys["ipam"])


def features_of(network: Network, arguments: Iterable[Mapping[str, Any]] = ()) -> tuple[str, ...]:
    """Kernel features that the standard plugins of a network require, with these arguments of pods, by capability."""
    found: dict[str, None] = {}
    given = [dict(own) for own in arguments]
    for part in parts(network):
        if plugin := STANDARD.get(part.type):
            asked = [name for name, value in part.keys.items() if value]
            asked += [name for own in given for name in _keys_in(own.get(part.type))]
            found |= dict.fromkeys(plugin.features)
            found |= dict.fromkeys(name for key in asked for name in plugin.features_by_key.get(key, ()))
    return tuple(found)


def _keys_in(argument: object) -> tuple[str, ...]:
    return tuple(argument) if isinstance(argument, dict) else ()


def programs_of(network: Network) -> tuple[str, ...]:
    """System programs that the standard plugins of a network call."""
    found: dict[str, None] = {}
    for part in parts(network):
        if plugin := STANDARD.get(part.type):
            found |= dict.fromkeys(plugin.programs)
            found |= dict.fromkeys(
                name for key, value in part.keys.items() if value for name in plugin.programs_by_key.get(key, ())
            )
    return tuple(found)


def stays_on_node(network: Network, folders: Sequence[str]) -> bool:
    """Whether everything that its plugins leave behind is in network namespaces and files of their node.

    This is known of the standard plugins, but not of programs with the same names in other folders.
    """
    kinds = [part.type for part in parts(network)]
    return all(kind in STANDARD and not STANDARD[kind].outlives and _is_standard(kind, folders) for kind in kinds)


def _is_standard(name: str, folders: Sequence[str]) -> bool:
    """Whether the first program of that name in these folders is in a folder of the standard plugins."""
    found = next((folder for folder in folders if os.access(Path(folder, name), os.X_OK)), None)
    return found in FOLDERS


def misfits(network: Network) -> Iterator[tuple[str, Misfit]]:
    """Values of the wrong type for keys of standard plugins, each with the file."""
    for part in parts(network):
        plugin = STANDARD.get(part.type, Standard())
        for name, value in part.keys.items():
            if name in plugin.numbers and (isinstance(value, bool) or not isinstance(value, int)):
                message = f"must be a number for the plugin {part.type}{_unquoted(value, str.isdecimal)}"
                yield part.file, Misfit((*part.loc, name), message)
            if name in plugin.switches and not isinstance(value, bool):
                message = f"must be true or false for the plugin {part.type}{_unquoted(value, _SWITCHES.__contains__)}"
                yield part.file, Misfit((*part.loc, name), message)

        if part.type == "host-local":
            for loc, keys in ranges_in(part.keys):
                written = keys.get("subnet")
                if not isinstance(written, str) or not _is_range(written):
                    message = f"must be an address range such as 10.1.0.0/16, or {OWN_RANGE}"
                    yield part.file, Misfit((*part.loc, *loc, "subnet"), message, at_key=written is None)


OWN_RANGE = '"{{ node.pod_cidr }}"'
_SWITCHES = ("true", "false")


def ranges_in(ipam: Mapping[str, Any]) -> Iterator[tuple[Loc, Mapping[str, Any]]]:
    """The objects with a `subnet` of `host-local`, and their locations in `ipam`."""
    if "subnet" in ipam:
        yield (), ipam
    sets = ipam.get("ranges")
    for number, one in enumerate(sets if isinstance(sets, list) else ()):
        for place, keys in enumerate(one if isinstance(one, list) else ()):
            if isinstance(keys, dict):
                yield ("ranges", number, place), keys


def _is_range(text: str) -> bool:
    try:
        return "/" in text and bool(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return False


def _unquoted(value: object, is_meant: Callable[[str], bool]) -> str:
    return "; remove the quotes" if isinstance(value, str) and is_meant(value) else ""
