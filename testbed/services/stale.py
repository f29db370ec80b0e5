"""Flows that no longer fit the Services, which kube-proxy deletes after each change.

A UDP client that keeps its source port keeps its flow, and with it an endpoint that may be gone. TCP clients notice by
themselves. Flows to a Service without any endpoint stay, as in kube-proxy.

Source: pkg/proxy/conntrack/cleanup.go of Kubernetes 1.33.
"""

from collections.abc import Iterable, Iterator

from testbed.kubernetes.services.ports import ServicePort
from testbed.plan.flows import Flow


def stale(flows: Iterable[Flow], ports: Iterable[ServicePort]) -> Iterator[Flow]:
    """UDP flows to an address or node port of a Service that an address without a serving endpoint answers."""
    by_address: dict[tuple[str, int], frozenset[str]] = {}
    by_node_port: dict[int, frozenset[str]] = {}
    for port in ports:
        serving = frozenset(one.address for one in port.endpoints if one.serving)
        if port.protocol != "udp" or not serving:
            continue
        for address in (port.address, *port.load_balancer_ips, *port.external_ips):
            by_address[address, port.port] = serving
        if port.node_port:
            by_node_port[port.node_port] = serving
    for flow in flows:
        if flow.protocol == "udp":
            found = (by_address.get((flow.target, flow.target_port)), by_node_port.get(flow.target_port))
            if any(serving is not None and flow.answered_by not in serving for serving in found):
                yield flow
