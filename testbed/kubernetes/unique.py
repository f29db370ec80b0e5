"""Values that only one Service of a cluster can have: cluster addresses and node ports."""

from collections.abc import Iterator, Mapping

from testbed.kubernetes.kinds import BY_NAME
from testbed.kubernetes.models.core import EXPOSED, Service
from testbed.kubernetes.state import ClusterState, Key
from testbed.spec.problems import Loc, Misfit

SERVICE = BY_NAME["Service"]
Value = tuple[str | int, str]
"""A cluster address, or a node port with its protocol."""


class Taken:
    """The Services that have each value. Those that a manifest replaces are not counted before they are seen again."""

    def __init__(self, state: ClusterState, replaced: frozenset[Key]) -> None:
        self.owners: dict[Value, Key] = {}
        for key, one in state.of(SERVICE).items():
            if key not in replaced and isinstance(one.typed, Service):
                self.owners |= dict.fromkeys(dict(_values(one.typed)).values(), key)

    def misfits(self, key: Key, service: Service) -> Iterator[Misfit]:
        """Values of a Service that another one has already."""
        for loc, value in _values(service):
            owner = self.owners.setdefault(value, key)
            if owner != key:
                namespace, name = owner
                what = "port" if value[1] else "IP"
                message = f"provided {what} is already allocated, to Service '{name}' in namespace '{namespace}'"
                yield Misfit(("spec", *loc), message)


def _values(service: Service) -> Iterator[tuple[Loc, Value]]:
    spec = service.spec
    if spec.type == "ExternalName":
        return
    addresses: Mapping[Loc, str] = {("clusterIPs", number): one for number, one in enumerate(spec.cluster_ips)}
    if spec.cluster_ip and spec.cluster_ip not in spec.cluster_ips:
        addresses = {("clusterIP",): spec.cluster_ip, **addresses}
    yield from ((loc, (one, "")) for loc, one in addresses.items() if one not in ("", "None"))
    if spec.type in EXPOSED:
        for number, port in enumerate(spec.ports):
            if port.node_port:
                yield ("ports", number, "nodePort"), (port.node_port, port.protocol)
        if spec.health_check_node_port:
            yield ("healthCheckNodePort",), (spec.health_check_node_port, "TCP")
