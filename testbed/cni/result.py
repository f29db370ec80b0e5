"""The result of ADD, in every version of the specification, as one type.

0.1.0 and 0.2.0 have `ip4` and `ip6`, with routes in each. 0.3.0 and later have interfaces and a list of addresses, up
to 0.4.0 each with the `version` of its family. 1.1.0 has more keys in interfaces and routes.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from testbed.cni.versions import SUPPORTED, is_at_least
from testbed.spec.types import Address, Interface, Network

_MORE_OF_INTERFACES = ("mtu", "socketPath", "pciID")
_MORE_OF_ROUTES = ("mtu", "advmss", "priority", "table", "scope")
"""Since 1.1.0."""


class NoResult(ValueError):
    """The output of a plugin is not a result of ADD; the text says why."""


@dataclass(frozen=True)
class MadeInterface:
    """A device that a plugin created, on the node or in the container."""

    name: str
    mac: str = ""
    sandbox: str = ""
    """The container's namespace; empty for a device on the node."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further keys, since 1.1.0."""


@dataclass(frozen=True)
class GivenAddress:
    """An address that the container got."""

    address: Interface
    gateway: Address | None = None
    interface: int | None = None
    """Index of its interface in the result."""


@dataclass(frozen=True)
class GivenRoute:
    """A route that the container got."""

    to: Network
    gateway: Address | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further keys, since 1.1.0."""


@dataclass(frozen=True)
class Result:
    """The result of ADD."""

    interfaces: tuple[MadeInterface, ...] = ()
    addresses: tuple[GivenAddress, ...] = ()
    routes: tuple[GivenRoute, ...] = ()
    dns: Mapping[str, Any] = field(default_factory=dict)

    def addresses_of(self, ifname: str) -> tuple[Address, ...]:
        """The container's addresses on an interface, including those without an interface."""
        return tuple(
            item.address.ip
            for item in self.addresses
            if item.interface is None
            or not self.interfaces
            or (self.interfaces[item.interface].sandbox and self.interfaces[item.interface].name == ifname)
        )


def parsed(data: object, version: str) -> Result:
    """A result in that version, or in the version that it names. Raises NoResult."""
    try:
        if not isinstance(data, dict):
            raise NoResult("expected a JSON object")
        own = data.get("cniVersion") or version
        if own not in SUPPORTED:
            raise NoResult(f"version {own} is not supported; valid: {', '.join(SUPPORTED)}")
        found = _recent(data) if is_at_least(own, "0.3.0") else _early(data)
        for item in found.addresses:
            if item.interface is not None and not 0 <= item.interface < max(len(found.interfaces), 1):
                raise NoResult(
                    f"{item.address} is on interface {item.interface}, but there are only {len(found.interfaces)}"
                )
    except NoResult:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        missing = f"the key {error} is missing" if isinstance(error, KeyError) else str(error)
        raise NoResult(missing) from None
    return found


def _recent(data: Mapping[str, Any]) -> Result:
    return Result(
        tuple(
            MadeInterface(
                item["name"],
                item.get("mac", ""),
                item.get("sandbox", ""),
                {key: item[key] for key in _MORE_OF_INTERFACES if key in item},
            )
            for item in data.get("interfaces") or ()
        ),
        tuple(
            GivenAddress(ipaddress.ip_interface(item["address"]), _address(item.get("gateway")), item.get("interface"))
            for item in data.get("ips") or ()
        ),
        tuple(_routes(data.get("routes"))),
        dict(data.get("dns") or {}),
    )


def _early(data: Mapping[str, Any]) -> Result:
    parts = [data[key] for key in ("ip4", "ip6") if data.get(key)]
    return Result(
        (),
        tuple(GivenAddress(ipaddress.ip_interface(part["ip"]), _address(part.get("gateway"))) for part in parts),
        tuple(route for part in parts for route in _routes(part.get("routes"))),
        dict(data.get("dns") or {}),
    )


def _routes(found: Iterable[Mapping[str, Any]] | None) -> Iterable[GivenRoute]:
    for item in found or ():
        more = {key: item[key] for key in _MORE_OF_ROUTES if key in item}
        yield GivenRoute(ipaddress.ip_network(item["dst"], strict=False), _address(item.get("gw")), more)


def _address(text: str | None) -> Address | None:
    return ipaddress.ip_address(text) if text else None


def written(result: Result, version: str) -> dict[str, Any]:
    """The result in the format of that version, without what the format lacks."""
    if is_at_least(version, "0.3.0"):
        return _recently_written(result, version)
    data: dict[str, Any] = {"cniVersion": version}
    for item in result.addresses:
        family = item.address.version
        if f"ip{family}" not in data:
            routes = [_route(route, version) for route in result.routes if route.to.version == family]
            data[f"ip{family}"] = _without_empty(
                {"ip": str(item.address), "gateway": _text(item.gateway), "routes": routes}
            )
    return data | ({"dns": dict(result.dns)} if result.dns else {})


def _recently_written(result: Result, version: str) -> dict[str, Any]:
    has_more, has_family = is_at_least(version, "1.1.0"), not is_at_least(version, "1.0.0")
    interfaces = [
        _without_empty({"name": item.name, "mac": item.mac, "sandbox": item.sandbox, **(item.more if has_more else {})})
        for item in result.interfaces
    ]
    ips = []
    for item in result.addresses:
        ip: dict[str, Any] = {"version": str(item.address.version)} if has_family else {}
        ip |= {"address": str(item.address), "gateway": _text(item.gateway), "interface": item.interface}
        ips.append({key: value for key, value in ip.items() if value not in (None, "")})
    return {
        "cniVersion": version,
        **({"interfaces": interfaces} if interfaces else {}),
        **({"ips": ips} if ips else {}),
        **({"routes": [_route(route, version) for route in result.routes]} if result.routes else {}),
        **({"dns": dict(result.dns)} if result.dns else {}),
    }


def _route(route: GivenRoute, version: str) -> dict[str, Any]:
    more = route.more if is_at_least(version, "1.1.0") else {}
    return _without_empty({"dst": str(route.to), "gw": _text(route.gateway), **more})


def _text(address: Address | None) -> str:
    return str(address) if address else ""


def _without_empty(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value not in ("", [])}
