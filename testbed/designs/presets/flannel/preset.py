"""Creates the preset of a backend from its page and its transport."""

from testbed.designs.design import Design
from testbed.designs.presets import pages
from testbed.designs.presets.flannel import agent, pods
from testbed.designs.transport import Transport
from testbed.plan.pods import behind_node
from testbed.spec.design import TransportSpec


def preset(backend: str, transport: Transport, summary: str, page: str | None, mode: str | None = None) -> Design:
    """`flannel-BACKEND`."""
    options = TransportSpec(kind=transport.name, mode="cross-subnet") if mode else TransportSpec(kind=transport.name)
    return Design(
        name=f"flannel-{backend}",
        attachment=pods.ATTACHMENT,
        transport=transport,
        options=options,
        summary=summary,
        like=(f"Flannel's backend {backend}",),
        agent=agent.run,
        masks=behind_node,
        also_needs=("masquerade", "bridge-nf"),
        programs=("iptables", "ip6tables", "/usr/lib/cni/bridge"),
        on_link="masqueraded packets get the address of the device that they leave through",
        page=pages.whole(page, agent.UNLIKE),
    )
