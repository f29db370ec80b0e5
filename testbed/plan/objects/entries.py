"""What the kernel is told by other means than route netlink: settings, IPsec, segment routing's source."""

from dataclasses import dataclass

from testbed.spec.types import Address


@dataclass(frozen=True)
class Sysctl:
    """A kernel setting of one namespace, such as `net.ipv4.ip_forward`; or of a device there."""

    key: str
    """With slashes instead of dots where it is a device's, whose name may have dots: `net/ipv4/conf/flannel.1/...`."""
    value: str
    optional: bool = False
    """Kernels without this key need not have it set (IPv6 or br_netfilter left out)."""
    dev: str = ""
    """The device whose setting it is."""


@dataclass(frozen=True)
class Esp:
    """IPsec in transport mode between two addresses, for UDP to one port: AES-GCM (RFC 4106), a key for each way.

    The keys are made when the lab is. With a `mark` it is only for packets that have it, and it is left to others, such
    as a firewall, to let in nothing that is not encrypted.
    """

    local: Address
    remote: Address
    port: int
    spi_out: int
    spi_in: int
    mark: int = 0
    key_bits: int = 128
    window: int = 64
    """So many of the latest packets may come in any order; more than 64 need extended sequence numbers."""


@dataclass(frozen=True)
class SegmentSource:
    """The source of the headers that segment routing puts around packets; without it, one of the device's."""

    address: Address


@dataclass(frozen=True)
class DownDevice:
    """A device that a CNI plugin made and left down."""

    dev: str


@dataclass(frozen=True)
class NftTable:
    """A table of nftables that a CNI plugin made; what is in it is the plugin's."""

    name: str
    """As `inet filter`."""
