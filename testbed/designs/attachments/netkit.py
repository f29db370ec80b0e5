"""netkit: as `routed`, with a netkit pair (Linux 6.7) instead of the veth pair.

    pod eth0 10.244.0.2/32, default dev eth0 -- netkit nkX node, 10.244.0.2 dev nkX

The devices are in layer 3 mode: packets have no Ethernet headers, and there is no ARP. Cilium attaches eBPF programs to
them; this attachment has none, and packets traverse the node's stack.
"""

from testbed.designs.attachment import Attachment, Delivers
from testbed.plan.addressing import Layout
from testbed.plan.draft import Draft
from testbed.plan.fabric import DEFAULT_ROUTE, forward
from testbed.plan.naming import interface_name
from testbed.plan.pods import POD_INTERFACE, add_pod, alone


def _attach(draft: Draft, layout: Layout, mtu: int, on_fabric: bool) -> None:
    for node in draft.nodes:
        space = draft[node.name]
        forward(space, layout)
        for place in draft.pods(node):
            dev = interface_name("nk", place.pod.id)
            pod = add_pod(draft, layout, node, place)
            draft.netkit((node.name, dev), (place.pod.id, POD_INTERFACE), mtu)
            for address in place.addresses:
                own = alone(address)
                pod.address(POD_INTERFACE, own)
                pod.route(DEFAULT_ROUTE[own.version], POD_INTERFACE)
                space.route(own.network, dev)


ATTACHMENT = Attachment(
    name="netkit",
    summary="no bridge: a netkit pair and a route for each pod, no Ethernet between pod and node",
    like=("Cilium with bpf.datapathMode=netkit (without its programs)",),
    needs=("netkit",),
    delivers=Delivers.PACKETS,
    attach=_attach,
    page=__doc__,
)
