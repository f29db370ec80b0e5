"""Tracked flows of a lab's nodes that no longer fit the Services."""

from collections.abc import Iterable, Mapping, Sequence

from testbed.kernel.conntrack import flows, forget
from testbed.kernel.namespace import Namespace
from testbed.kubernetes.services.ports import ServicePort
from testbed.services.stale import stale


def forget_stale(
    namespaces: Mapping[str, Namespace], nodes: Iterable[str], ports: Mapping[int, Sequence[ServicePort]]
) -> int:
    """Deletes stale flows on nodes and returns their number; `ports` are those of all Services, by family.

    To be called after the rules have changed. Raises KernelRefusal, and OSError if the kernel has no ctnetlink.
    """
    number = 0
    is_needed = {family: any(one.protocol == "udp" for one in own) for family, own in ports.items()}
    for node in nodes:
        with namespaces[node].entered():
            for family, own in ports.items():
                gone = list(stale(flows(family), own)) if is_needed[family] else []
                forget(gone)
                number += len(gone)
    return number
