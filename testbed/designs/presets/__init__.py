"""Designs with a name. Those of a CNI plugin are a package, in which each has a file: its page, and what it is."""

from testbed.designs.design import Design
from testbed.designs.presets import cilium, plain

PRESETS: tuple[Design, ...] = (*plain.PRESETS, *cilium.PRESETS)
