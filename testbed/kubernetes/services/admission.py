"""What the API server does with a Service that is created or changed: defaults, numbers, refusals.

Each step reads and returns a spec, in the order in which the API server takes them. Messages have its reasons.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from testbed.kubernetes.models.core import EXPOSED, Service
from testbed.kubernetes.models.model import read
from testbed.kubernetes.services.ranges import Full, Numbers, addresses_in, ports_in
from testbed.spec.problems import Loc, Misfit

Spec = Mapping[str, Any]
AFFINITY_S = 10800
"""Default of how long a client stays with its endpoint."""


class Refused(Exception):
    """The API server refuses the object."""

    def __init__(self, *misfits: Misfit) -> None:
        super().__init__(misfits[0].message)
        self.misfits = misfits


@dataclass(frozen=True)
class Admitted:
    """A Service as it is stored."""

    typed: Service
    data: dict[str, Any]


def admitted(data: Mapping[str, Any], old: Mapping[str, Any] | None, owner: str, numbers: Numbers) -> Admitted:
    """A Service with everything that the API server adds. `old` is its data before, `owner` its `namespace/name`.

    Records its numbers. Raises Refused, and then changes no number.
    """
    before: Spec = (old or {}).get("spec") or {}
    spec = dict(data.get("spec") or {})
    if old:
        spec = _with_old_values(before, _without_dependent(before, spec))
    _check_family(before, spec)
    _validate({**data, "spec": spec})
    spec = _with_families(_with_defaults(spec), numbers)
    spec = _with_ports(_with_addresses(spec, owner, numbers), owner, numbers)
    numbers.release(owner, before)
    numbers.claim(owner, spec)
    whole = {**data, "spec": spec}
    if spec["type"] != "LoadBalancer":
        whole.pop("status", None)
    return Admitted(_validate(whole), whole)


def _check_family(old: Spec, new: Spec) -> None:
    """Refuses another primary family."""
    before, after = ((one.get("ipFamilies") or [""])[0] for one in (old, new))
    if before and after and before != after:
        message = f"may not change once set, and was {before}; delete the object first, then apply it again"
        raise Refused(Misfit(("spec", "ipFamilies", 0), message))


def _validate(data: Mapping[str, Any]) -> Service:
    typed, misfits = read(Service, dict(data))
    if typed is None:
        raise Refused(*misfits)
    return typed


def _without_dependent(old: Spec, new: dict[str, Any]) -> dict[str, Any]:
    """The spec without unchanged fields that only the old type had."""
    was, now = old.get("type", "ClusterIP"), new.get("type", "ClusterIP")
    dropped: list[str] = []
    if was != "ExternalName" and now == "ExternalName":
        dropped += ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy")
    if was == "ExternalName" != now:
        dropped.append("externalName")
    if was in EXPOSED and now not in EXPOSED:
        dropped.append("externalTrafficPolicy")
        ports_before = {_port_key(one): one.get("nodePort") for one in old.get("ports") or ()}
        new["ports"] = [
            {key: value for key, value in one.items() if key != "nodePort" or value != ports_before.get(_port_key(one))}
            for one in new.get("ports") or ()
        ]
    if not _has_health_port(new):
        dropped.append("healthCheckNodePort")
    if was == "LoadBalancer" != now:
        dropped += ("allocateLoadBalancerNodePorts", "loadBalancerClass")
    return {key: value for key, value in new.items() if key not in dropped or value != old.get(key)}


def _with_old_values(old: Spec, new: dict[str, Any]) -> dict[str, Any]:
    """The spec with numbers that were allocated before and that the new one leaves open."""
    if new.get("type", "ClusterIP") != "ExternalName" and not (new.get("clusterIP") or new.get("clusterIPs")):
        new |= {key: old[key] for key in ("clusterIP", "clusterIPs") if old.get(key)}
    elif (
        new.get("clusterIP")
        and new.get("clusterIP") != old.get("clusterIP")
        and new.get("clusterIPs") == old.get("clusterIPs")
    ):
        new.pop("clusterIPs", None)
    if new.get("ipFamilyPolicy") == "SingleStack" != old.get("ipFamilyPolicy"):
        for key in ("clusterIPs", "ipFamilies"):
            if new.get(key) == old.get(key) and new.get(key):
                new[key] = new[key][:1]
    if new.get("type") in EXPOSED and new.get("allocateLoadBalancerNodePorts") is not False:
        known = {_port_key(one): one["nodePort"] for one in old.get("ports") or () if one.get("nodePort")}
        asked = {one.get("nodePort") for one in new.get("ports") or ()}
        new["ports"] = [
            {**one, "nodePort": known[_port_key(one)]}
            if not one.get("nodePort") and known.get(_port_key(one), 0) not in (0, *asked)
            else one
            for one in new.get("ports") or ()
        ]
    if _has_health_port(new) and not new.get("healthCheckNodePort") and old.get("healthCheckNodePort"):
        new["healthCheckNodePort"] = old["healthCheckNodePort"]
    return new


def _with_defaults(spec: dict[str, Any]) -> dict[str, Any]:
    kind = spec.get("type", "ClusterIP")
    defaults: dict[str, Any] = {"type": kind, "sessionAffinity": "None"}
    if kind != "ExternalName":
        defaults["internalTrafficPolicy"] = "Cluster"
    if kind in EXPOSED or (kind == "ClusterIP" and spec.get("externalIPs")):
        defaults["externalTrafficPolicy"] = "Cluster"
    if kind == "LoadBalancer":
        defaults["allocateLoadBalancerNodePorts"] = True
    result = {**defaults, **spec}
    if result["sessionAffinity"] == "ClientIP":
        seconds = ((spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}).get("timeoutSeconds") or AFFINITY_S
        result["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": seconds}}
    if "ports" in spec:
        result["ports"] = [{"protocol": "TCP", "targetPort": one["port"], **one} for one in spec["ports"] or ()]
    return result


def _with_families(spec: dict[str, Any], numbers: Numbers) -> dict[str, Any]:
    """The spec with ipFamilyPolicy and ipFamilies."""
    if spec["type"] == "ExternalName":
        return spec
    known = numbers.ranges.families
    written = [f"IPv{ip_address(one).version}" for one in addresses_in(spec)]
    families = list(spec.get("ipFamilies") or written)
    policy = spec.get("ipFamilyPolicy")
    is_headless = "None" in (spec.get("clusterIP"), *(spec.get("clusterIPs") or ()))
    is_open = is_headless and not spec.get("selector")
    """Endpoints of a headless Service without a selector may have any family, whatever the cluster has."""
    if policy is None:
        policy = "RequireDualStack" if (is_open and not families) or len(families) == 2 else "SingleStack"
    for number, family in enumerate(families):
        if family not in known and not is_open:
            at = ("spec", "ipFamilies", number) if spec.get("ipFamilies") else ("spec", "clusterIP")
            raise Refused(Misfit(at, f"{family} is not configured on this cluster", valid=known))
    if policy == "RequireDualStack" and len(known) < 2 and not is_open:
        message = "this cluster is not configured for dual-stack Services: it has no range of the other family"
        raise Refused(Misfit(("spec", "ipFamilyPolicy"), message))
    if policy == "SingleStack" and len(written) == 2:
        raise Refused(
            Misfit(("spec", "ipFamilyPolicy"), "must be RequireDualStack or PreferDualStack with two clusterIPs")
        )
    families = families or [known[0]]
    if policy != "SingleStack" and len(families) == 1:
        families += (one for one in (known if not is_open else ("IPv4", "IPv6")) if one not in families)
    return {**spec, "ipFamilyPolicy": policy, "ipFamilies": families}


def _with_addresses(spec: dict[str, Any], owner: str, numbers: Numbers) -> dict[str, Any]:
    """The spec with clusterIP and clusterIPs."""
    if spec["type"] == "ExternalName":
        return spec
    written = [one for one in spec.get("clusterIPs") or [spec.get("clusterIP")] if one]
    if written and "None" in written:
        return {**spec, "clusterIP": "None", "clusterIPs": ["None"]}
    at = ("spec", "clusterIP") if spec.get("clusterIP") else ("spec", "clusterIPs", 0)
    for text in written:
        address = ip_address(text)
        network = numbers.ranges.network(f"IPv{address.version}")
        taken = numbers.addresses.get(str(address))
        if address not in network or address == network.network_address:
            message = f"failed to allocate IP {text}: it is not in the valid range; the range of valid IPs is {network}"
            raise Refused(Misfit(at, message))
        if network.version == 4 and address == network.broadcast_address:
            raise Refused(Misfit(at, f"failed to allocate IP {text}: it is the last address of the range {network}"))
        if taken not in (None, owner):
            raise Refused(Misfit(at, f"provided IP is already allocated, to {_called(taken)}"))
    by_family = {f"IPv{ip_address(one).version}": one for one in written}
    try:
        addresses = [by_family.get(one) or numbers.free_address(owner, one) for one in spec["ipFamilies"]]
    except Full as error:
        raise Refused(Misfit(("spec",), str(error), at_key=True)) from None
    return {**spec, "clusterIP": addresses[0], "clusterIPs": addresses}


def _with_ports(spec: dict[str, Any], owner: str, numbers: Numbers) -> dict[str, Any]:
    """The spec with node ports."""
    misfits = [*_port_misfits(spec, owner, numbers)]
    if misfits:
        raise Refused(*misfits)
    own = {number for number, _ in ports_in(spec)}
    wants = spec["type"] == "NodePort" or (
        spec["type"] == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False
    )
    try:
        if wants:
            by_number: dict[int, set[tuple[str, int]]] = {}
            for one in spec["ports"]:
                if one.get("nodePort"):
                    by_number.setdefault(one["port"], set()).add((one["protocol"], one["nodePort"]))
            ports = []
            for one in spec["ports"]:
                given = by_number.setdefault(one["port"], set())
                if not one.get("nodePort"):
                    # Ports of one number, such as DNS over UDP and TCP, share a node port.
                    shared = sorted(number for protocol, number in given if protocol != one["protocol"])
                    number = shared[0] if shared else numbers.free_port(owner, str(one["port"]), own)
                    one = {**one, "nodePort": number}
                    given.add((one["protocol"], number))
                    own.add(number)
                ports.append(one)
            spec = {**spec, "ports": ports}
        if _has_health_port(spec) and not spec.get("healthCheckNodePort"):
            spec = {**spec, "healthCheckNodePort": numbers.free_port(owner, "health", own)}
    except Full as error:
        raise Refused(Misfit(("spec",), str(error), at_key=True)) from None
    return spec


def _port_misfits(spec: Spec, owner: str, numbers: Numbers) -> Iterator[Misfit]:
    first, last = numbers.ranges.node_ports
    given: list[tuple[Loc, int | None, str]] = [
        (("spec", "ports", number, "nodePort"), one.get("nodePort"), one["protocol"])
        for number, one in enumerate(spec.get("ports") or ())
    ]
    if _has_health_port(spec):
        given.append((("spec", "healthCheckNodePort"), spec.get("healthCheckNodePort"), "TCP"))
    for loc, port, protocol in given:
        if not port:
            continue
        taken = numbers.ports.get((port, protocol))
        if not first <= port <= last:
            message = f"provided port {port} is not in the valid range; the range of valid ports is {first}-{last}"
            yield Misfit(loc, message)
        elif taken not in (None, owner):
            yield Misfit(loc, f"provided port is already allocated, to {_called(taken)}")


def _called(owner: str | None) -> str:
    namespace, _, name = (owner or "").partition("/")
    return f"Service '{name}' in namespace '{namespace}'"


def _has_health_port(spec: Spec) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _port_key(port: Mapping[str, Any]) -> tuple[str, int]:
    return port.get("protocol", "TCP"), port["port"]
