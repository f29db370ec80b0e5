"""Names of what can run on nodes beside a design; the rooms of services and policies have what they mean."""

NONE = "none"
OWN = "own"
"""What belongs to a design. The policy engine: its own, or none if it has none. The service proxy: kube-proxy in its
default mode, iptables, or none if the design is to replace kube-proxy."""
PROXIES = (OWN, "iptables", "nftables", NONE)
"""Service proxies."""
ENGINES = ("nftables", "calico", "kube-router", "weave")
"""Policy engines."""


class WrongEngine(ValueError):
    """A design does not have what a policy engine extends."""


POLICIES = (OWN, *ENGINES, NONE)
