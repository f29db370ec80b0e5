"""Every combination of attachment and transport: planned, brought up, checked on the wire and taken down; or refused.

Combinations that this kernel does not support are skipped here and run in the virtual machine: a subset with every
attachment and every transport (marked `vm`), and with `--whole-matrix` all of them.
"""

import os
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from testbed.designs import ATTACHMENTS, CATALOGUE, TRANSPORTS, design_of, pairs
from testbed.kernel.features import FEATURES
from testbed.lab.lab import Lab
from testbed.observe.check import check
from testbed.observe.inspect import inspect
from testbed.plan.objects import Plan
from testbed.plan.shell import script
from testbed.spec.design import TransportSpec, spelt_out
from testbed.spec.topology import Topology
from tests.designs.looking import topology

GOLDEN = Path(__file__).parent / "golden" / "matrix"
UPDATE = os.environ.get("UPDATE_GOLDEN") == "1"
INCOMPATIBLE = [(a, t) for a in ATTACHMENTS for t in TRANSPORTS if f"{a}+{t}" not in pairs()]
TUNNELS = [name for name, transport in TRANSPORTS.items() if "mode" in transport.parameters]
COVERING = (
    "ipvlan-l2+l2",
    "ipvlan-l3+gateway",
    "ipvlan-l3+host-routes",
    "netkit+ipip",
    "ptp+gre",
    "routed+geneve",
    "bridge+wireguard",
    "bridge+ipsec",
)
"""A subset of the pairs that the development kernel does not support, with each part at least once."""
RARE = ("ipvlan", "netkit", "ipip", "ip6tnl", "gre", "ip6gre", "geneve", "wireguard", "esp")
"""Features that only kernels with modules have."""
FAMILIES = ("two-nodes", "ipv6-only", "dual-stack")


def is_rare(name: str) -> bool:
    return any(feature in design_of(name).needs for feature in RARE)


def marked(names: list[str], covering: tuple[str, ...], families: tuple[str, ...] = ()) -> list[ParameterSet]:
    """Parameters, each marked with its needs; the rare ones also with where they run."""
    found = []
    for name in names:
        for family in families or ("",):
            needs = [pytest.mark.needs(*design_of(name).needs)]
            if is_rare(name):
                covered = name in covering and family in ("", "dual-stack")
                needs.append(pytest.mark.vm if covered else pytest.mark.whole_matrix)
            values = (name, family) if families else (name,)
            found.append(pytest.param(*values, marks=needs, id="-".join(filter(None, values))))
    return found


def wanted(name: str, family: str) -> Topology:
    """Segment routing needs IPv6 between nodes, also for IPv4 pods."""
    chosen = topology(family)
    if "srv6" in name and family == "two-nodes":
        fabric = chosen.fabric.model_copy(update={"subnet": topology("dual-stack").fabric.subnet})
        return chosen.model_copy(update={"fabric": fabric})
    return chosen


@pytest.mark.parametrize("name", pairs())
def test_the_plan_is_the_golden_one(name: str) -> None:
    plan = script(design_of(name).plan(topology("dual-stack")))
    golden = GOLDEN / f"{name}.sh"
    if UPDATE:
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(plan)
    assert plan == golden.read_text()


def prove(name: str, chosen: Topology, mode: str | None = None) -> Plan:
    """Brings the design up, checks that all places reach each other, and compares wire and kernel with the plan."""
    design = design_of(name)
    if mode:
        kind = design.transport.name
        transport = TransportSpec(kind=kind, mode=mode)  # type: ignore[arg-type]
        design = design_of(spelt_out("mine", design.attachment.name, transport))
    assert list(design.misfits(chosen)) == []
    with Lab(design.plan(chosen)) as lab:
        verdict = check(design, chosen, lab.plan, lab.namespaces)
        assert (verdict.failures, verdict.astray) == ((), ())
        assert inspect(lab.plan, lab.namespaces) == ()
        return lab.plan


@pytest.mark.sealed
@pytest.mark.parametrize(("name", "family"), marked(list(pairs()), COVERING, FAMILIES))
def test_a_pair_does_what_it_claims(name: str, family: str) -> None:
    """In IPv4, in IPv6, and in both."""
    prove(name, wanted(name, family))


@pytest.mark.sealed
@pytest.mark.parametrize(
    "name", marked([f"bridge+{kind}" for kind in TUNNELS], tuple(f"bridge+{kind}" for kind in TUNNELS))
)
def test_a_tunnel_is_left_out_inside_a_subnet(name: str) -> None:
    """Two of the nodes are neighbours, the third is behind a router."""
    prove(name, topology("two-subnets"), "cross-subnet")


@pytest.mark.sealed
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("attach", ["bridge", "flat-bridge"])
def test_multicast_carries_broadcast_frames(attach: str, family: str) -> None:
    transport = TransportSpec(kind="vxlan-learning", flood="multicast", vni=7, port=4788)
    design, chosen = design_of(spelt_out("mine", attach, transport)), topology(family)
    with Lab(design.plan(chosen)) as lab:
        assert check(design, chosen, lab.plan, lab.namespaces).is_good
        assert inspect(lab.plan, lab.namespaces) == ()


@pytest.mark.parametrize(("attach", "kind"), INCOMPATIBLE)
def test_an_incompatible_pair_is_refused_with_the_reason(attach: str, kind: str) -> None:
    (misfit,) = CATALOGUE.misfits(spelt_out("mine", attach, TransportSpec(kind=kind)))
    assert misfit.message.startswith(f"{kind} ")
    assert f"but {attach} " in misfit.message
    assert f"; {attach} goes with " in misfit.message
    with pytest.raises(KeyError):
        design_of(f"{attach}+{kind}")


def test_every_pair_is_valid_or_incompatible() -> None:
    assert len(pairs()) + len(INCOMPATIBLE) == len(ATTACHMENTS) * len(TRANSPORTS)
    assert {name.partition("+")[0] for name in pairs()} == set(ATTACHMENTS)
    assert {name.partition("+")[2] for name in pairs()} == set(TRANSPORTS)


def test_the_covering_subset_covers() -> None:
    rare_parts = {
        part for name in pairs() if is_rare(name) for part in (name.partition("+")[0], name.partition("+")[2])
    }
    common = {
        part for name in pairs() if not is_rare(name) for part in (name.partition("+")[0], name.partition("+")[2])
    }
    covered = {part for name in COVERING for part in (name.partition("+")[0], name.partition("+")[2])}
    assert rare_parts - common <= covered
    assert set(RARE) <= set(FEATURES)


ROOM = {
    "l2": (1500, 1500),
    "gateway": (1500, 1500),
    "host-routes": (1500, 1500),
    # IP, UDP, VXLAN or Geneve, Ethernet.
    "vxlan": (1500 - 20 - 8 - 8 - 14, 1500 - 40 - 8 - 8 - 14),
    "vxlan-learning": (1450, 1430),
    "vxlan-metadata": (1450, 1430),
    "geneve": (1450, 1430),
    "ipip": (1480, 1460),
    "gre": (1476, 1456),
    # IP, UDP, a header of 16 bytes, a tag of 16.
    "wireguard": (1440, 1420),
    # IP, ESP header 8, IV 8, tag 16, trailer 2; the rest a multiple of four; less UDP, VXLAN, Ethernet.
    "ipsec": ((1500 - 20 - 32) // 4 * 4 - 2 - 30, (1500 - 40 - 32) // 4 * 4 - 2 - 30),
    "udp": (1472, 1452),
    # IPv6 for both families, and a routing header with one segment.
    "srv6": (1500 - 40 - 8 - 16, 1500 - 40 - 8 - 16),
}


@pytest.mark.parametrize("kind", ROOM)
def test_the_mtu_of_pods_is_what_the_headers_leave(kind: str) -> None:
    four, six = ROOM[kind]
    design = design_of(next(name for name in pairs() if name.endswith(f"+{kind}")))
    assert design.pod_mtu(wanted(kind, "two-nodes")) == four
    assert design.pod_mtu(topology("ipv6-only")) == six
    assert design.pod_mtu(topology("dual-stack")) == min(four, six)


def test_a_smaller_mtu_can_be_set() -> None:
    small = design_of(spelt_out("mine", "routed", TransportSpec(kind="vxlan"), 1400))
    assert small.pod_mtu(topology("two-nodes")) == 1400
    (misfit,) = design_of(spelt_out("mine", "routed", TransportSpec(kind="vxlan"), 1460)).misfits(topology("two-nodes"))
    assert "it must be 576 to 1450" in misfit.message
