"""cni: pods are attached by CNI plugins, which the lab calls as a container runtime would.

    pod eth0 - whatever the plugins make - node

Each node has the network's configuration in /etc/cni/net.d, filled with its own values if it is a template, and
/var/lib/cni and /run of its own. What the plugins made is read from the kernel when they are through, and belongs to
the lab's plan from then on.

Nodes forward packets, and show bridged ones to iptables, as Kubernetes wants of every node before a plugin is called.
"""

import json
from pathlib import PurePath

from testbed.cni.network import filled_network, network_of_texts
from testbed.cni.template import EXAMPLE, ClusterValues, NodeValues, Values
from testbed.designs.attachment import Attachment, Delivers
from testbed.plan.addressing import Layout, NodePlace
from testbed.plan.draft import Draft, SpaceDraft
from testbed.plan.fabric import forward
from testbed.plan.objects import Plugged
from testbed.plan.pods import POD_INTERFACE, add_pod
from testbed.spec.design import ReadCni

CONFIGURATIONS = "/etc/cni/net.d"


def attachment_of(spec: ReadCni) -> Attachment:
    """How the pods of a design with CNI plugins are attached."""

    def attach(draft: Draft, layout: Layout, mtu: int, on_fabric: bool) -> None:
        for node in draft.nodes:
            _attach(draft, layout, spec, node, _values(layout, node, mtu))

    return Attachment(
        name="cni",
        summary=f"CNI plugins, as the network {spec.name} has them",
        like=(),
        needs=("veth", "bridge"),
        delivers=Delivers.PACKETS,
        attach=attach,
        page=__doc__,
    )


def plugins_of(spec: ReadCni) -> tuple[str, ...]:
    """The names of the programs that are called, those that hand out addresses too."""
    return network_of_texts(filled_network(spec.texts, EXAMPLE)).programs


def _attach(draft: Draft, layout: Layout, spec: ReadCni, node: NodePlace, values: Values) -> None:
    space = draft[node.name]
    forward(space, layout)
    _both_families(space)
    for table in ("iptables", "ip6tables"):
        space.sysctl(f"net.bridge.bridge-nf-call-{table}", 1, optional=True)
    texts = filled_network(spec.texts, values)
    first = PurePath(texts[0][0]).parent
    for file, text in texts:
        space.file(f"{CONFIGURATIONS}/{PurePath(file).relative_to(first)}", text)
    for place in draft.pods(node):
        pod = add_pod(draft, layout, node, place)
        pod.reached_at = ()  # Known as soon as the plugins have said so.
        _both_families(pod)
        capabilities = {**spec.capabilities, **spec.pods.get(place.pod.id, {})}
        draft.plugged(
            Plugged(
                place.pod.id,
                node.name,
                place.pod.id,
                POD_INTERFACE,
                texts,
                spec.bin,
                json.dumps(capabilities),
                spec.timeout.total_seconds(),
            )
        )


def _both_families(space: SpaceDraft) -> None:
    """IPv6 is there for plugins that want it, whatever the topology has."""
    for scope in ("all", "default"):
        space.sysctl(f"net.ipv6.conf.{scope}.disable_ipv6", 0, optional=True)
        space.sysctl(f"net.ipv6.conf.{scope}.accept_dad", 0, optional=True)
        space.sysctl(f"net.ipv6.conf.{scope}.accept_ra", 0, optional=True)
        space.sysctl(f"net.ipv6.conf.{scope}.router_solicitations", 0, optional=True)


def _values(layout: Layout, node: NodePlace, mtu: int) -> Values:
    addresses = tuple(str(address.ip) for address in node.addresses)
    cidrs, all_cidrs = (tuple(map(str, found)) for found in (node.pod_cidrs, layout.pod_cidrs))
    return Values(
        NodeValues(node.name, node.number, cidrs[0], cidrs, addresses[0], addresses),
        ClusterValues(all_cidrs[0], all_cidrs),
        mtu,
    )
