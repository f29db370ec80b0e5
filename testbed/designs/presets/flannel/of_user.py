"""Flannel for a user's network configuration that calls the CNI plugin `flannel`, as K3s, MicroK8s and Kubespray do.

The plugin leaves everything between nodes to flanneld, so the design gets the state that flanneld creates: subnet.env,
its rules, and the entries of the backend.
"""

from dataclasses import replace

from testbed.designs.design import Design
from testbed.designs.presets import pages
from testbed.designs.presets.flannel import agent, host_gw, ipip, udp, vxlan, wireguard

_PRESETS = (vxlan.PRESET, host_gw.PRESET, ipip.PRESET, udp.PRESET, wireguard.PRESET)
_BACKENDS = {preset.transport.name: preset for preset in _PRESETS}
"""The backends of flanneld, by transport."""


def with_agent(design: Design) -> Design:
    """The design with flanneld's state. A transport that is no backend of flanneld stays as it is."""
    preset = _BACKENDS.get(design.transport.name)
    return replace(
        design,
        transport=preset.transport if preset else design.transport,
        agent=agent.run,
        masks=vxlan.PRESET.masks,
        also_needs=vxlan.PRESET.also_needs,
        programs=tuple(dict.fromkeys((*design.programs, *vxlan.PRESET.programs))),
        on_link=vxlan.PRESET.on_link,
        page=pages.whole(f"flanneld's state is added, as in {preset.name}." if preset else "", agent.UNLIKE),
    )
