"""Every preset has a complete page: how to inspect it, and how it departs from the real CNI."""

import re

import pytest

from testbed.designs import DESIGNS, PLAIN
from tests.designs.test_calico import EVERY as CALICO
from tests.designs.test_cilium import NETKIT, VETH
from tests.designs.test_flannel import MTU as FLANNEL
from tests.designs.test_kube_router import FULL, NAME
from tests.designs.test_weave import NAMES as WEAVE

PRESETS = tuple(name for name in DESIGNS if name not in PLAIN)


def topics(text: str) -> tuple[str, ...]:
    return tuple(topic.strip() for topic in text.split(","))


OF_FLANNEL = topics("no flanneld, flannel.alpha.coreos.com, added or taken away, puts back, nftables, in Python")
OF_VXLAN = topics("is registered, random MAC address, 50 bytes for IPv6")
OF_FELIX = topics(
    "no Felix, watched, put back, CNI plugins, policies, tiers, host endpoints, eBPF mode, nftables, blocks, cali:"
)
OF_BIRD = topics("confd, BGPPeer, BIRD 2, graceful restart, quick to come up, every second, one path")
OF_CALICO = (*OF_BIRD, *OF_FELIX)
OF_CILIUM = topics(
    "no agent, cilium-cni, health, no policies, no connection tracking, no services, endpoint routes, egress gateway,"
    "Geneve, encryption, priority 9, 20 and 111, for the router, masquerades by iptables, hop limit, NDP,"
    "eth0's egress, tcx, endpoint_metric, come from one"
)
OF_NATIVE = topics("auto-direct-node-routes")
OF_NETKIT = topics("netkit-l2")
OF_TUNNEL = topics("identity 0, identity 1, remote-node, not IP, smaller MTU")
OF_WEAVE = topics(
    "no weaver, gossip, third peer, heartbeats, falls back to sleeve, spanning trees, no weave-npc,"
    "no network policies, CNI plugins, share of the range, WEAVE-CANARY, TCP, 6783"
)
OF_FASTDP = topics("control connection, adds a flow, vxlan-6784, at random, MTU fits")
OF_SLEEVE = topics("in Python, PMTU, fragments, MTU fits, checksums")
OF_KUBE_ROUTER = topics(
    "GoBGP, protocol number 17, two tries, AS of its own, rr.server, rr.client, external peers, --enable-overlay=false,"
    "FoU, GUE, 5555, whole MTU, no kube-router, put back, network policies, time in their hash, IPv6 tunnels,"
    "testbed cni, service proxy"
)

TOPICS: dict[str, tuple[str, ...]] = {
    "flannel-vxlan": (*OF_VXLAN, *OF_FLANNEL),
    "flannel-host-gw": ("every ten seconds", *OF_FLANNEL),
    "flannel-direct-routing": ("asks the kernel", *OF_VXLAN, *OF_FLANNEL),
    "flannel-ipip": ("every ten seconds", "DirectRouting", *OF_FLANNEL),
    "flannel-wireguard": ("wgkey", *OF_FLANNEL),
    "flannel-udp": ("udp_tunnel.py", "ICMP", *OF_FLANNEL),
    "calico-bgp": OF_CALICO,
    "calico-bgp-rr": ("peerSelector", *OF_CALICO),
    "calico-bgp-tor": OF_CALICO,
    "calico-ipip": ("krt_tunnel", "v3.33", *OF_CALICO),
    "calico-vxlan": OF_FELIX,
    "calico-cross-subnet": ("routes within the subnet", *OF_CALICO),
    "calico-wireguard": ("throw", "node's own address", *OF_CALICO),
    "cilium-native": (*OF_NATIVE, *OF_CILIUM),
    "cilium-native-netkit": (*OF_NATIVE, *OF_NETKIT, *OF_CILIUM),
    "cilium-native-legacy": ("several chains", *OF_NATIVE, *OF_CILIUM),
    "cilium-vxlan": (*OF_TUNNEL, *OF_CILIUM),
    "cilium-vxlan-netkit": (*OF_TUNNEL, *OF_NETKIT, *OF_CILIUM),
    "weave-fastdp": (*OF_FASTDP, *OF_WEAVE),
    "weave-fastdp-encrypted": ("password", "security parameter indexes", *OF_FASTDP, *OF_WEAVE),
    "weave-sleeve": ("without a password", *OF_SLEEVE, *OF_WEAVE),
    "weave-sleeve-encrypted": ("two keys", *OF_SLEEVE, *OF_WEAVE),
    "kube-router": OF_KUBE_ROUTER,
    "kube-router-full-overlay": OF_KUBE_ROUTER,
}
"""Words that the lines beginning with 'Unlike' must contain, by preset."""


def unlike(page: str) -> str:
    """All statements of a page that begin with 'Unlike', each up to the next one or the end of its paragraph."""
    return " ".join(" ".join(part.split()) for part in re.findall(r"^Unlike .*?(?=^Unlike |^$|\Z)", page, re.M | re.S))


@pytest.mark.parametrize("name", PRESETS)
def test_each_page_says_where_its_preset_departs_from_the_real_cni(name: str) -> None:
    said = unlike(DESIGNS[name].page).lower()
    assert [topic for topic in TOPICS[name] if topic.lower() not in said] == []


@pytest.mark.parametrize("name", PRESETS)
def test_no_page_refers_to_another_one_for_its_departures(name: str) -> None:
    page = DESIGNS[name].page
    assert re.findall(r"differs? from|what is unlike|is unlike there", page) == []
    assert unlike(page.rsplit("\n\n", 1)[-1]), "departures come last"


@pytest.mark.parametrize("name", PRESETS)
def test_each_page_shows_commands_to_inspect_its_preset(name: str) -> None:
    """In indented lines; with birdc if BIRD runs."""
    page = DESIGNS[name].page
    assert re.search(r"^    \S", page, re.M)
    assert ("birdc show" in page) == ("birdc" in DESIGNS[name].programs)


def test_all_presets_are_tested_here_and_in_the_tests_of_their_cni() -> None:
    tested = (
        *(f"flannel-{backend}" for backend in FLANNEL),
        *(f"calico-{mode}" for mode in CALICO),
        *(f"weave-{path}" for path in WEAVE),
        *(*VETH, *NETKIT),
        *(NAME, FULL),
    )
    assert sorted(tested) == sorted(TOPICS) == sorted(PRESETS)
