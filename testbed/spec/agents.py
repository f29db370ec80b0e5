"""Names of what can run on nodes beside a design; the rooms of services and policies have what they mean."""

NONE = "none"
PROXIES = ("iptables", "nftables", NONE)
"""Service proxies."""
OWN = "own"
"""The policy engine that belongs to a design; none if it has none."""
ENGINES = ("nftables", "calico", "kube-router", "weave")
"""Policy engines."""


class WrongEngine(ValueError):
    """A design does not have what a policy engine extends."""


POLICIES = (OWN, *ENGINES, NONE)
