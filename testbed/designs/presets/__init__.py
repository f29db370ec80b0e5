"""Designs with a name. Those of a CNI plugin are a package, in which each has a file: its page, and what it is."""

from testbed.designs.design import Design
from testbed.designs.presets import calico, cilium, flannel, kube_router, plain, weave

PRESETS: tuple[Design, ...] = (
    *plain.PRESETS,
    *flannel.PRESETS,
    *calico.PRESETS,
    *cilium.PRESETS,
    *weave.PRESETS,
    *kube_router.PRESETS,
)
