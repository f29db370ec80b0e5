"""What the running kernel can do, found by trying it in a namespace that is thrown away."""

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from testbed.kernel import encode
from testbed.kernel.namespace import Namespace
from testbed.kernel.netlink import KernelRefusal, Request, send
from testbed.kernel.rights import as_root
from testbed.plan.objects import Bridge, Netem, TokenBucket, VethEnd, Vxlan

_MAC = "02:00:00:00:00:01"
_LOCAL = ipaddress.ip_address("127.0.0.1")


@dataclass(frozen=True)
class Feature:
    """Something that a design needs of the kernel."""

    name: str
    option: str
    """The kernel's configuration option."""
    module: str
    """The module that brings it where the kernel is built with modules."""
    attempt: Callable[[int], Request]
    """From a namespace's descriptor to a request that only a kernel with the feature fulfils."""

    @property
    def remedy(self) -> str:
        """How to get it."""
        return f"needs a kernel with {self.option} (modprobe {self.module})"


def _veth(namespace_fd: int) -> Request:
    here, there = (VethEnd("", f"try{number}", 100 + number, _MAC, 1500) for number in range(2))
    return encode.new_veth(here, there, namespace_fd, None)


FEATURES = {
    feature.name: feature
    for feature in (
        Feature("veth", "CONFIG_VETH", "veth", _veth),
        Feature("bridge", "CONFIG_BRIDGE", "bridge", lambda _: encode.new_link(Bridge("try", 100, _MAC, 1500))),
        Feature(
            "vxlan",
            "CONFIG_VXLAN",
            "vxlan",
            lambda _: encode.new_link(Vxlan("try", 100, _MAC, 1450, 1, 8472, _LOCAL)),
        ),
        Feature(
            "tbf",
            "CONFIG_NET_SCH_TBF",
            "sch_tbf",
            lambda _: encode.new_token_bucket(TokenBucket("lo", 10**9, 125_000, 125_000), encode.LOOPBACK),
        ),
        Feature(
            "netem",
            "CONFIG_NET_SCH_NETEM",
            "sch_netem",
            lambda _: encode.new_netem(Netem("lo", 1000, 0, 0, 0, 0, 1000), encode.LOOPBACK),
        ),
    )
}


def missing_here(names: Iterable[str]) -> tuple[Feature, ...] | None:
    """As `missing`, for any user; None if this one has no right to try."""
    found = as_root(lambda: [feature.name for feature in missing(tuple(names))])
    return None if found is None else tuple(FEATURES[name] for name in found)


def missing(names: tuple[str, ...]) -> tuple[Feature, ...]:
    """Those of the named features that this kernel lacks. Needs the right to make namespaces."""
    return tuple(FEATURES[name] for name in names if not _works(FEATURES[name]))


def _works(feature: Feature) -> bool:
    namespace = Namespace.create()
    try:
        with namespace.entered():
            send([feature.attempt(namespace.fd)])
    except KernelRefusal:
        return False
    finally:
        namespace.close()
    return True
