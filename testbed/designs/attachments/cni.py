"""cni: pods are attached by CNI plugins, which the lab calls as a container runtime does.

    pod eth0 - devices of the plugins - node

Each node has the network's configuration in /etc/cni/net.d, rendered with its values if it is a template, and its own
/var/lib/cni and /run. After the plugins have run, the lab reads what they created from the kernel and adds it to its
plan.

Nodes forward packets and pass bridged ones to iptables, as Kubernetes requires before a plugin is called.
"""

import json
from pathlib import PurePath

from testbed.cni.network import example_network, filled_network
from testbed.cni.ranges import shared
from testbed.cni.standard import features_of, parts
from testbed.cni.template import ClusterValues, NodeValues, Values
from testbed.designs.attachment import Attachment, Delivers
from testbed.plan.addressing import Layout, NodePlace
from testbed.plan.draft import Draft, SpaceDraft
from testbed.plan.fabric import forward
from testbed.plan.objects import Plugged
from testbed.plan.plugged import pod_arguments
from testbed.plan.pods import POD_INTERFACE, add_pod
from testbed.spec.design import NETWORKS, ReadCni
from testbed.spec.problems import Problem, SpecError

CONFIGURATIONS = "/etc/cni/net.d"


_LEAST = ("veth", "bridge")
"""Kernel features of every lab."""


def attachment_of(spec: ReadCni, needs: tuple[str, ...] = _LEAST) -> Attachment:
    """The attachment of a design with CNI plugins; `needs` are kernel features that the plugins require."""

    def attach(draft: Draft, layout: Layout, mtu: int, on_fabric: bool) -> None:
        for node in draft.nodes:
            _attach(draft, layout, spec, node, _values(layout, node, mtu))

    return Attachment(
        name="cni",
        summary=f"CNI plugins of the network {spec.name}",
        like=(),
        needs=needs,
        delivers=Delivers.PACKETS,
        attach=attach,
        page=__doc__,
    )


def needs_of(spec: ReadCni) -> tuple[str, ...]:
    """Kernel features that the plugins of a design require, as far as they are known."""
    arguments = (spec.capabilities, *spec.pods.values())
    return tuple(dict.fromkeys((*_LEAST, *features_of(example_network(spec.texts), arguments))))


def plugins_of(spec: ReadCni) -> tuple[str, ...]:
    """The names of the plugins that are called, including IPAM plugins and those that others delegate to."""
    network = example_network(spec.texts)
    return tuple(dict.fromkeys((*network.programs, *(part.type for part in parts(network)))))


def problems_of(spec: ReadCni, layout: Layout, mtu: int) -> tuple[Problem, ...]:
    """Problems of the configuration on a topology: templates that cannot be filled, and addresses given out twice."""
    by_node = {}
    for node in layout.nodes:
        try:
            by_node[node.name] = filled_network(spec.texts, _values(layout, node, mtu))
        except SpecError as error:
            return error.problems
    pods = {node.name: len(node.pods) for node in layout.nodes}
    return tuple(shared(by_node, spec.texts, pods))


def _attach(draft: Draft, layout: Layout, spec: ReadCni, node: NodePlace, values: Values) -> None:
    space = draft[node.name]
    forward(space, layout)
    _both_families(space)
    for table in ("iptables", "ip6tables"):
        space.sysctl(f"net.bridge.bridge-nf-call-{table}", 1, optional=True)
    texts = filled_network(spec.texts, values)
    first = PurePath(texts[0][0]).parent
    for file, text in texts:
        space.file(f"{CONFIGURATIONS}/{_on_node(PurePath(file).relative_to(first))}", text.lstrip())
    for place in draft.pods(node):
        pod = add_pod(draft, layout, node, place)
        pod.reached_at = ()  # Known when the plugins have returned.
        _both_families(pod)
        capabilities = {**spec.capabilities, **spec.pods.get(place.pod.id, {})}
        draft.plugged(
            Plugged(
                place.pod.id,
                node.name,
                place.pod.id,
                pod_arguments(place.pod, place.pod.id),
                POD_INTERFACE,
                texts,
                spec.bin,
                json.dumps(capabilities),
                spec.timeout.total_seconds(),
                spec.addresses == "required",
            )
        )


def _on_node(path: PurePath) -> PurePath:
    """The path of a configuration on the node; foreign files get the extension that runtimes look for."""
    return path if path.suffix in NETWORKS[:3] else path.with_suffix(NETWORKS[0])


def _both_families(space: SpaceDraft) -> None:
    """Enables IPv6 for plugins that use it, even if the topology has only IPv4."""
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
