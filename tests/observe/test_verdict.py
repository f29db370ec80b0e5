"""A verdict reads the same in Python, in pytest and on the command line."""

import pytest

from testbed.observe.verdict import Cause, Failure, Verdict

PLACES = ("node1", "node2", "client", "web-2")
GOOD = Verdict(PLACES, 65, (), (), ())
BAD = Verdict(
    PLACES,
    65,
    tuple(Failure("client", "web-2", protocol, "10.244.1.2", "no answer") for protocol in ("udp", "tcp", "icmp")),
    (),
    (Cause((("client", "web-2"),), "last seen at flannel.1 of node1; node1: no FDB entry"),),
)
TEXT = """\
        node1 node2 client web-2
node1       ·     ✓      ✓     ✓
node2       ✓     ·      ✓     ✓
client      ✓     ✓      ·     ✗
web-2       ✓     ✓      ✓     ·

62 of 65 checks passed

client → web-2
    last seen at flannel.1 of node1; node1: no FDB entry"""


def test_a_verdict_prints_as_the_command_line_does() -> None:
    assert str(BAD) == TEXT
    assert str(GOOD).endswith("\n65 of 65 checks passed")


def test_a_large_verdict_has_no_matrix() -> None:
    many = Verdict(tuple(f"pod{number}" for number in range(30)), 900, (), (), ())
    assert str(many) == "900 of 900 checks passed"


def test_a_failed_assertion_shows_the_count_and_the_cause() -> None:
    with pytest.raises(AssertionError) as failed:
        assert BAD.is_good
    told = "62 of 65 checks passed; client → web-2 last seen at flannel.1 of node1; node1: no FDB entry"
    assert f"<{told}>.is_good" in str(failed.value)
    astray = Verdict(PLACES, 65, (), ("a packet from node1 took eth0",), ())
    assert repr(astray) == "<64 of 65 checks passed; a packet from node1 took eth0>"


def test_the_count_names_pods_that_could_not_be_asked() -> None:
    found = Verdict(PLACES, 6, (), (), (), unaddressed=("client: no address in the network l2only",))
    assert not found.is_good
    assert "6 of 6 checks passed; 1 pod without an address" in str(found)
