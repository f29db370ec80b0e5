import subprocess

import pytest

from testbed.designs import DESIGNS
from testbed.kernel.features import FEATURES, Feature, missing
from testbed.spec.topology import Topology

pytestmark = pytest.mark.sealed


def test_every_design_needs_known_features(shaped: Topology) -> None:
    assert {name for design in DESIGNS.values() for name in design.needs_on(shaped)} <= set(FEATURES)


def test_a_fabric_with_a_rate_needs_token_buckets(shaped: Topology, two_nodes: Topology) -> None:
    vxlan = DESIGNS["vxlan"]
    assert set(vxlan.needs_on(shaped)) - set(vxlan.needs_on(two_nodes)) == {"tbf"}
    assert FEATURES["tbf"].remedy == "needs a kernel with CONFIG_NET_SCH_TBF (modprobe sch_tbf)"


def test_what_the_kernel_has_agrees_with_iproute2() -> None:
    """A second, independent way of asking: `ip link add` and `tc qdisc add`."""
    for name in FEATURES:
        more = ["id", "1", "dstport", "8472"] if name == "vxlan" else []
        command = ["ip", "link", "add", "x0", "type", name, *more]
        if name == "tbf":
            limits = ["rate", "1gbit", "burst", "125000", "limit", "125000"]
            command = ["tc", "qdisc", "add", "dev", "lo", "root", "tbf", *limits]
        asked = subprocess.run(command, capture_output=True, check=False)
        assert (not missing((name,))) == (asked.returncode == 0)
        subprocess.run(["ip", "link", "delete", "x0"], capture_output=True, check=False)


def test_trying_leaves_nothing_behind() -> None:
    def links() -> bytes:
        return subprocess.run(["ip", "-o", "link"], capture_output=True, check=True).stdout

    before = links()
    missing(tuple(FEATURES))
    assert links() == before


def test_a_refused_attempt_is_a_missing_feature(monkeypatch: pytest.MonkeyPatch) -> None:
    """Setting up a device that is not there: any kernel refuses it."""
    from testbed.kernel import encode

    lacking = Feature("impossible", "CONFIG_IMPOSSIBLE", "impossible", lambda _: encode.link_up(99_999))
    monkeypatch.setitem(FEATURES, "impossible", lacking)
    assert missing(("veth", "impossible")) == (lacking,)
    assert lacking.remedy == "needs a kernel with CONFIG_IMPOSSIBLE (modprobe impossible)"
