"""Transports, one file each. A new one needs a new file and a row here."""

from testbed.designs.transport import Transport
from testbed.designs.transports import (
    gateway,
    geneve,
    gre,
    host_routes,
    ipip,
    ipsec,
    l2,
    srv6,
    udp,
    vxlan,
    vxlan_learning,
    vxlan_metadata,
    wireguard,
)

TRANSPORTS: dict[str, Transport] = {
    module.TRANSPORT.name: module.TRANSPORT
    for module in (
        l2,
        gateway,
        host_routes,
        vxlan,
        vxlan_learning,
        vxlan_metadata,
        ipip,
        gre,
        geneve,
        wireguard,
        ipsec,
        udp,
        srv6,
    )
}
