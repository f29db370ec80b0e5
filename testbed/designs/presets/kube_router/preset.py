"""What makes a preset of an overlay's extent."""

from functools import partial

from testbed.designs.design import Design
from testbed.designs.presets.kube_router import agent, pods
from testbed.designs.presets.kube_router.routing import Overlay, transport
from testbed.spec.design import TransportSpec


def preset(name: str, overlay: Overlay, summary: str, page: str | None) -> Design:
    """kube-router with that overlay."""
    chosen = transport(overlay)
    return Design(
        name=name,
        attachment=pods.ATTACHMENT,
        transport=chosen,
        options=TransportSpec(kind=chosen.name),
        summary=summary,
        like=("kube-router",),
        agent=partial(agent.run, overlay=overlay),
        also_needs=("masquerade", "ipset", "bridge-nf"),
        programs=("iptables", "ip6tables", "ipset", "bird", "birdc", "/usr/lib/cni/bridge"),
        page=page or "",
    )
