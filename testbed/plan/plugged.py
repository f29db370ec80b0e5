"""Commands that call the CNI plugins to attach pods."""

import json
import re
import shlex
from collections.abc import Iterator

from testbed.cni.network import network_of_texts
from testbed.cni.request import Attachment, environment, request
from testbed.kubernetes.naming import uid
from testbed.plan.objects import Plan, Plugged
from testbed.spec.topology import Pod

NETNS = "/run/netns"
"""The folder of a node with its pods' namespaces, for the plugins."""
_EXPANDED = re.compile(r"([\\$`])")
"""Characters that the shell expands in a here-document."""


def pod_arguments(pod: Pod, container: str) -> tuple[tuple[str, str], ...]:
    """A pod's identity for plugins, as container runtimes write it in CNI_ARGS.

    `IgnoreUnknown` comes first: with it, plugins accept the arguments that they do not know.
    """
    return (
        ("IgnoreUnknown", "1"),
        ("K8S_POD_NAMESPACE", pod.namespace),
        ("K8S_POD_NAME", pod.name),
        ("K8S_POD_INFRA_CONTAINER_ID", container),
        ("K8S_POD_UID", pod.uid or uid("Pod", pod.namespace, pod.name)),
    )


def attachment_of(item: Plugged) -> Attachment:
    """The attachment as passed to plugins."""
    capabilities = json.loads(item.capabilities)
    return Attachment(item.container, f"{NETNS}/{item.space}", item.ifname, capabilities, item.arguments)


def unaddressed(plan: Plan) -> Iterator[str]:
    """A line for each pod that plugins have attached without an address, unless the design says so."""
    for item in plan.plugged:
        if item.needs_address and not plan[item.space].reached_at and item.ifname in plan.devices_of(item.space):
            network = network_of_texts(item.texts)
            reason = "the plugins returned none"
            if not any(plugin.ipam for plugin in network.plugins):
                reason = "no plugin allocates addresses (`ipam`)"
            yield (
                f"{item.space}: no address in the network {network.name}: {reason}; if this is intended, write "
                "`addresses: none` in a design file"
            )


def attaching(plan: Plan, roots: str) -> Iterator[str]:
    """The commands of a container runtime: each plugin gets its configuration and the result of the previous one.

    `roots` has the private folders of the nodes, by name.
    """
    for item in plan.plugged:
        network, attachment = network_of_texts(item.texts), attachment_of(item)
        around = environment("ADD", item.folders, attachment)
        variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in around.items())
        found = f'PATH={shlex.quote(":".join(item.folders))}:"$PATH"'
        bound = f"{roots}/{item.node}{attachment.netns}"
        yield f"mkdir -p {roots}/{item.node}{NETNS}; touch {bound}; mount --bind {NETNS}/{item.space} {bound}"
        for number, plugin in enumerate(network.plugins):
            data = request(network, network.versions[0], plugin, attachment.capabilities)
            text = _EXPANDED.sub(r"\\\1", json.dumps(data))
            yield f"result=$(in_folders_of {item.node} env {variables} {found} {plugin.type} <<END"
            yield f'{text[:-1]}, "prevResult": $result}}' if number else text
            yield "END"
            yield ")"
