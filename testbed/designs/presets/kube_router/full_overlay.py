"""kube-router-full-overlay: `kube-router` with `--overlay-type=full`: tunnels between neighbours, too.

    ip -d link          tun-ID: ipip remote 192.168.56.2 local 192.168.56.1, mtu 1480
    ip route            10.244.1.0/24 dev tun-ID proto bird src 192.168.56.1
    ip rule             32765: from 10.244.0.0/24 lookup kube-router
    ip route ls t 77    192.168.56.2 dev tun-ID

For networks that drop packets with unknown addresses, as some clouds do: the fabric carries only packets from node to
node. The rest is as in `kube-router`; `birdc show route` shows the routes learned by BGP.
"""

from testbed.designs.presets.kube_router.preset import preset
from testbed.designs.presets.kube_router.routing import Overlay

PRESET = preset(
    "kube-router-full-overlay",
    Overlay(is_full=True),
    "kube-router with IP in IP between all nodes",
    __doc__,
)
