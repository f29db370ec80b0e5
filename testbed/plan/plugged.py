"""Pods that CNI plugins attach, as the commands by which a person would call the plugins."""

import json
import re
import shlex
from collections.abc import Iterator

from testbed.cni.network import network_of_texts
from testbed.cni.request import Attachment, environment, request
from testbed.plan.objects import Plan, Plugged

NETNS = "/run/netns"
"""Where a node has its pods' namespaces, for the plugins."""
_MEANS_MORE = re.compile(r"([\\$`])")
"""In a text that the shell fills in."""


def attachment_of(item: Plugged) -> Attachment:
    """The attachment as plugins are told of it."""
    return Attachment(item.container, f"{NETNS}/{item.space}", item.ifname, json.loads(item.capabilities))


def attaching(plan: Plan, roots: str) -> Iterator[str]:
    """What a container runtime does: each plugin is told its part, and the result of the one before it.

    `roots` is the folder in which each node has its own.
    """
    for item in plan.plugged:
        network, attachment = network_of_texts(item.texts), attachment_of(item)
        around = environment("ADD", item.folders, attachment)
        variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in around.items())
        found = f'PATH={shlex.quote(":".join(item.folders))}:"$PATH"'
        bound = f"{roots}/{item.node}{attachment.netns}"
        yield f"mkdir -p {roots}/{item.node}{NETNS}; touch {bound}; mount --bind {NETNS}/{item.space} {bound}"
        for number, plugin in enumerate(network.plugins):
            told = json.dumps(request(network, network.versions[0], plugin, attachment.capabilities))
            text = _MEANS_MORE.sub(r"\\\1", told)
            yield f"result=$(in_folders_of {item.node} env {variables} {found} {plugin.type} <<END"
            yield f'{text[:-1]}, "prevResult": $result}}' if number else text
            yield "END"
            yield ")"
