"""Creates a preset from the extent of its overlay."""

from functools import partial

from testbed.designs.design import Design
from testbed.designs.presets import pages
from testbed.designs.presets.kube_router import agent, pods
from testbed.designs.presets.kube_router.routing import Overlay, transport
from testbed.spec.design import TransportSpec

UNLIKE = """
Unlike kube-router, which contains GoBGP, the preset uses BIRD: Debian's GoBGP is a daemon that does not write routes to
the kernel; kube-router does this itself.
Unlike kube-router's routes, which have the protocol number 17, BIRD's have 12, `proto bird`.
Unlike kube-router, BIRD waits for a second between two tries to reach a peer that is not up yet.
Unlike kube-router, whose annotations can give a node an AS of its own, make it a route reflector (`rr.server`,
`rr.client`) or add external peers, all nodes are in one AS, in a full mesh, without other peers.
Unlike kube-router, the overlay cannot be switched off (`--enable-overlay=false`, which leaves nodes in other subnets
without a route), and is always IP in IP, not FoU (`--overlay-encap=fou`, GUE inside UDP, port 5555).
Unlike kube-router 2, where pods have the whole MTU and learn by ICMP that a tunnel has less, pods have an MTU that fits
the tunnels, if there are any, as in kube-router 1 with `--auto-mtu`.
Unlike in a cluster, no kube-router runs: sets, rules and tunnels are written once, when the lab comes up. They are not
watched, and not put back if deleted; `testbed inspect` shows what is missing. BIRD restores only routes.
Unlike in a cluster with network policies, there are none here: KUBE-NWPLCY-DEFAULT accepts all traffic.
Unlike kube-router, whose names of pods' chains have the time in their hash, the testbed derives them from the pod's
name.
Unlike kube-router's IPv6 tunnels, which carry only IPv6, the testbed's would carry IPv4 as well.
Unlike kube-router, a pod's chain is not updated when `testbed cni` has given the pod another address.
Unlike kube-router with its service proxy on, there are no Services here, and no IPVS.
"""
"""Departures from kube-router that all presets share."""


def preset(name: str, overlay: Overlay, summary: str, page: str | None) -> Design:
    """The preset of kube-router with this overlay."""
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
        page=pages.whole(page, UNLIKE),
    )
