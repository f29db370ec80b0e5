"""What makes a preset of an overlay's extent."""

from functools import partial

from testbed.designs.design import Design
from testbed.designs.presets import pages
from testbed.designs.presets.kube_router import agent, pods
from testbed.designs.presets.kube_router.routing import Overlay, transport
from testbed.spec.design import TransportSpec

UNLIKE = """
Unlike kube-router, which has GoBGP in it, BIRD speaks BGP here: what Debian has of GoBGP is a daemon that knows routes
without writing them into the kernel, which kube-router does itself with what its copy tells it.
Unlike kube-router's routes, which have the protocol number 17, BIRD's have 12, `proto bird`.
Unlike kube-router, BIRD waits for a second between two tries to reach a peer that is not there yet.
Unlike kube-router, whose annotations give a node an AS of its own, make it a route reflector (`rr.server`, `rr.client`)
or have it speak with external peers, all nodes are in one AS, in a full mesh, and with nobody else.
Unlike kube-router, the overlay cannot be switched off (`--enable-overlay=false`, by which nodes in other subnets have
no route), and is IP in IP alone, not FoU (`--overlay-encap=fou`, GUE inside UDP, port 5555).
Unlike kube-router 2, which leaves pods the whole MTU and has them find out by ICMP that a tunnel has less, pods have
what fits through the tunnels, if there are any, as kube-router 1 had it with `--auto-mtu`.
Unlike in a cluster, no kube-router runs: sets, rules and tunnels are written once, when the lab comes up. Nothing is
watched, and what has been deleted is not put back: `testbed inspect` shows it. Routes alone BIRD looks after.
Unlike in a cluster with network policies, there are none here: KUBE-NWPLCY-DEFAULT lets everything pass.
Unlike kube-router, whose names of pods' chains have the time in their hash, the testbed makes them of the pod's name.
Unlike kube-router's IPv6 tunnels, which carry IPv6 alone, the testbed's would carry IPv4 as well.
Unlike kube-router, nobody writes a pod's chain anew when `testbed cni` has given the pod another address.
Unlike kube-router with its service proxy on, there are no Services here, and none of its IPVS.
"""
"""In what all are."""


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
        page=pages.whole(page, UNLIKE),
    )
