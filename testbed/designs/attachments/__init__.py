"""Attachments, one file each. A new one needs a new file and a row here."""

from testbed.designs.attachment import Attachment
from testbed.designs.attachments import bridge, flat_bridge, ipvlan, macvlan, netkit, ptp, routed

ATTACHMENTS: dict[str, Attachment] = {
    attachment.name: attachment
    for attachment in (
        bridge.ATTACHMENT,
        flat_bridge.ATTACHMENT,
        routed.ATTACHMENT,
        ptp.ATTACHMENT,
        macvlan.ATTACHMENT,
        ipvlan.L2,
        ipvlan.L3,
        netkit.ATTACHMENT,
    )
}
