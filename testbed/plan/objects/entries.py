"""Objects that are not made by route netlink: sysctls, IPsec, the source of segment routing headers, and others."""

from dataclasses import dataclass

from testbed.spec.types import Address


@dataclass(frozen=True)
class Sysctl:
    """A sysctl of a namespace, such as `net.ipv4.ip_forward`, or of a device in it."""

    key: str
    """With slashes instead of dots for a device, whose name may contain dots: `net/ipv4/conf/flannel.1/...`."""
    value: str
    optional: bool = False
    """Whether the kernel may lack the key (built without IPv6 or br_netfilter)."""
    dev: str = ""
    """The device of the sysctl; empty if it is the namespace's."""


@dataclass(frozen=True)
class Esp:
    """IPsec in transport mode between two addresses, for UDP to one port: AES-GCM (RFC 4106), one key per direction.

    The keys are generated when the lab is built. With a `mark` only packets with that mark are encrypted, and there is
    no inbound policy: a firewall must drop unencrypted packets.
    """

    local: Address
    remote: Address
    port: int
    spi_out: int
    spi_in: int
    mark: int = 0
    key_bits: int = 128
    window: int = 64
    """Size of the replay window, in packets; more than 64 require extended sequence numbers."""


@dataclass(frozen=True)
class SegmentSource:
    """The source address of outer headers of segment routing; without it the kernel uses an address of the device."""

    address: Address


@dataclass(frozen=True)
class DownDevice:
    """A device that a CNI plugin created and left down."""

    dev: str


SAID = "-"


@dataclass(frozen=True)
class Other:
    """A property or object that no other kind covers, as read from the kernel. A plan has those of CNI plugins."""

    dev: str
    """The device that has it; empty if it is the namespace's."""
    what: str
    undo: str
    """The commands that remove or reset it, one a line."""
    expected: str = ""
    """For a property: the expected value, such as the kernel's default; `SAID` if `what` is a whole sentence."""
    redo: str = ""
    """The command that restores it; empty if there is none."""
    of_port: bool = False
    """Whether it belongs to the device as a port of its bridge, and goes when that changes."""

    @property
    def unexpected(self) -> str:
        """The message if it is not planned."""
        if self.expected == SAID:
            return self._of_device(self.what)
        return self._of_device(f"{self.what}, expected {self.expected}" if self.expected else f"unexpected {self.what}")

    @property
    def missing(self) -> str:
        """The message if it is planned and not found."""
        return self._of_device(f"{self.what} missing")

    def _of_device(self, what: str) -> str:
        return f"{self.dev}: {what}" if self.dev else what


@dataclass(frozen=True)
class NftTable:
    """An nftables table that a CNI plugin created and manages."""

    name: str
    """Family and name, such as `inet filter`."""
