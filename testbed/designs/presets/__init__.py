"""The predefined designs. Each CNI is a package with one file per preset, which holds its page and its `PRESET`.

The file of a preset is imported when the preset is first used. A new preset needs a new file and a row in `FILES`.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module

from testbed.designs.design import Design
from testbed.designs.presets import plain

FILES: Mapping[str, str] = {
    "flannel-vxlan": "flannel.vxlan",
    "flannel-host-gw": "flannel.host_gw",
    "flannel-direct-routing": "flannel.direct_routing",
    "flannel-ipip": "flannel.ipip",
    "flannel-wireguard": "flannel.wireguard",
    "flannel-udp": "flannel.udp",
    "calico-bgp": "calico.bgp",
    "calico-bgp-rr": "calico.bgp_rr",
    "calico-bgp-tor": "calico.bgp_tor",
    "calico-ipip": "calico.ipip",
    "calico-vxlan": "calico.vxlan",
    "calico-cross-subnet": "calico.cross_subnet",
    "calico-wireguard": "calico.wireguard",
    "cilium-native": "cilium.native",
    "cilium-native-netkit": "cilium.native_netkit",
    "cilium-native-legacy": "cilium.native_legacy",
    "cilium-vxlan": "cilium.vxlan",
    "cilium-vxlan-netkit": "cilium.vxlan_netkit",
    "weave-fastdp": "weave.fastdp",
    "weave-fastdp-encrypted": "weave.fastdp_encrypted",
    "weave-sleeve": "weave.sleeve",
    "weave-sleeve-encrypted": "weave.sleeve_encrypted",
    "kube-router": "kube_router.subnet",
    "kube-router-full-overlay": "kube_router.full_overlay",
}
"""The module of each CNI's preset, by the preset's name."""


class Presets(Mapping[str, Design]):
    """All predefined designs, the generic ones first."""

    def __init__(self) -> None:
        self._read = dict(plain.PRESETS)

    def __getitem__(self, name: str) -> Design:
        if name not in self._read:
            preset = import_module(f"{__name__}.{FILES[name]}").PRESET
            assert isinstance(preset, Design) and preset.name == name
            self._read[name] = preset
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        return name in plain.PRESETS or name in FILES

    def __iter__(self) -> Iterator[str]:
        yield from plain.PRESETS
        yield from FILES

    def __len__(self) -> int:
        return len(plain.PRESETS) + len(FILES)
