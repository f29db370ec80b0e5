"""Cilium: pods' packets are forwarded by eBPF programs instead of the node's stack."""

from testbed.designs.design import Design
from testbed.designs.presets.cilium import native, native_legacy, native_netkit, vxlan, vxlan_netkit

PRESETS: tuple[Design, ...] = (
    native.PRESET,
    native_netkit.PRESET,
    native_legacy.PRESET,
    vxlan.PRESET,
    vxlan_netkit.PRESET,
)
