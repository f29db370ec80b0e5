"""Only what changes during the calls of CNI plugins is attributed to them."""

import ipaddress
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.designs import DESIGNS
from testbed.kernel.state import DeviceState, State
from testbed.lab.adopting import adopted, without
from testbed.lab.lab import Lab
from testbed.observe.inspect import inspect
from testbed.plan.objects import DeviceAddress
from testbed.plan.objects.kinds import KINDS
from testbed.plan.rulesets.merge import Whole, WholeChain
from testbed.spec.edit import with_pod
from testbed.spec.topology import Topology
from tests.cni.conftest import needs_plugins

BRIDGE = DeviceState("cni0", 5, "bridge", "02:00:00:00:00:01", 1450, True, "")
ADDRESS = DeviceAddress("cni0", ipaddress.ip_interface("10.244.0.1/24"))
FORWARD = ("filter", "FORWARD")


def seen(*devices: DeviceState, items: Sequence[DeviceAddress] = (), rules: Sequence[str] | None = None) -> State:
    objects = {kind.type: frozenset[object]() for kind in KINDS.values()} | {DeviceAddress: frozenset(items)}
    found = {} if rules is None else {FORWARD: WholeChain(tuple(rules))}
    nothing = frozenset[str]()
    return State(
        {device.name: device for device in devices},
        objects,
        refusals=nothing,
        associations=frozenset(),
        policies=frozenset(),
        tables=nothing,
        rules_of_tables={},
        classifying=nothing,
        rulesets={"iptables": Whole("iptables", found)},
    )


def rules_of(state: State) -> tuple[str, ...]:
    return state.rulesets["iptables"].chains[FORWARD].rules


def test_a_fault_from_before_stays_a_difference() -> None:
    known = seen(BRIDGE, items=[ADDRESS])
    before = seen(replace(BRIDGE, mtu=1300))
    veth = DeviceState("veth1", 6, "veth", "02:00:00:00:00:02", 1450, True, "cni0")
    after = seen(replace(BRIDGE, mtu=1300, mac="02:00:00:00:00:09"), veth)
    found = adopted(known, before, after)
    assert found.devices == {"cni0": replace(BRIDGE, mac="02:00:00:00:00:09"), "veth1": veth}
    assert found.of(DeviceAddress) == {ADDRESS}


def test_what_plugins_remove_or_restore_is_adopted() -> None:
    known, empty = seen(BRIDGE, items=[ADDRESS]), seen()
    assert adopted(known, known, empty) == empty
    anew = replace(BRIDGE, index=9)
    assert adopted(known, empty, seen(anew)).devices == {"cni0": anew}
    # The address was lost before, and its device is removed now.
    assert adopted(known, seen(BRIDGE), empty).of(DeviceAddress) == frozenset()


def test_a_device_is_dropped_with_what_is_on_it() -> None:
    assert without(seen(BRIDGE, items=[ADDRESS]), ["cni0"]) == seen()


@pytest.mark.parametrize(
    ("known", "before", "after", "right"),
    [
        ("ab", "DROP ab", "DROP abc", "abc"),
        ("ab", "DROP ab", "c DROP ab", "cab"),
        ("ab", "a DROP b", "a DROP cb", "acb"),
        ("ab", "b", "bc", "abc"),
        ("ab", "b", "ab", "ab"),
        ("ab", "ba", "bac", "acb"),
        ("ab", "ab", "b", "b"),
        ("ab", "DROP ab", "DROP b", "b"),
        ("ab", None, "ab", "ab"),
        (None, "DROP", "DROP c", "c"),
    ],
)
def test_rules_of_others_are_not_adopted(known: str | None, before: str | None, after: str, right: str) -> None:
    found = adopted(*(seen(rules=_rules(text)) for text in (known, before, after)))
    assert rules_of(found) == tuple(right)


def _rules(text: str | None) -> list[str] | None:
    return None if text is None else [*(["DROP"] if "DROP" in text else []), *text.replace("DROP", "").replace(" ", "")]


RULES = st.lists(st.sampled_from("abcdef"), max_size=6, unique=True)


@given(RULES, RULES)
def test_without_a_fault_the_result_is_what_is_there(before: list[str], after: list[str]) -> None:
    assert adopted(*(seen(rules=rules) for rules in (before, before, after))) == seen(rules=after)


@given(RULES, RULES)
def test_without_a_change_the_result_is_what_was_known(known: list[str], there: list[str]) -> None:
    assert adopted(*(seen(rules=rules) for rules in (known, there, there))) == seen(rules=known)


@given(RULES, RULES, st.sampled_from("xyz"))
def test_a_rule_of_the_user_is_a_difference_whatever_plugins_do(before: list[str], after: list[str], own: str) -> None:
    found = adopted(*(seen(rules=rules) for rules in (before, [own, *before], [own, *after])))
    assert sorted(rules_of(found)) == sorted(after)


FAULTS = {
    "iptables -I FORWARD -j DROP": "node1: iptables: unexpected `-t filter -A FORWARD -j DROP`",
    "ip link set cni0 mtu 1300": "node1: cni0: MTU 1300, expected 1450",
    "ip route add blackhole 10.9.0.0/16": "node1: unexpected route `blackhole 10.9.0.0/16`",
    "ip link add br9 type bridge": "node1: unexpected device br9 (bridge)",
    "nft add table inet own": "node1: nftables: unexpected table `inet own`",
    "sysctl -w net.bridge.bridge-nf-call-iptables=0": "node1: net.bridge.bridge-nf-call-iptables: 0, expected 1",
}
UNDO = (
    "iptables -D FORWARD -j DROP",
    "ip link set cni0 mtu 1450",
    "ip route del blackhole 10.9.0.0/16",
    "ip link del br9",
    "nft delete table inet own",
    "sysctl -w net.bridge.bridge-nf-call-iptables=1",
)


@needs_plugins
@pytest.mark.sealed
def test_faults_stay_differences_when_pods_are_attached_and_detached(two_nodes: Topology) -> None:
    design = DESIGNS["flannel-vxlan"]
    with Lab(design.plan(two_nodes)) as lab:

        def differences() -> set[str]:
            return {f"{item.place}: {item.what}" for item in inspect(lab.plan, lab.namespaces)}

        def run(command: str) -> None:
            assert lab.run("node1", command.split()).returncode == 0, command

        assert differences() == set()
        assert lab.plugging is not None
        for command in FAULTS:
            run(command)
        named = differences()
        assert set(FAULTS.values()) <= named
        for verb in ("del", "add"):
            step, plan = lab.plugging.step(verb, "client")  # type: ignore[arg-type]
            assert (step.error, plan is not None) == ("", True)
            assert plan is not None
            lab.places.change(plan)
            assert differences() == named
        lab.change(design.plan(with_pod(two_nodes, "more", "node1"), before=lab.drawn))
        assert differences() == named
        for command in UNDO:
            run(command)
        assert differences() == set()
        # What the user has removed before DEL is not expected after it.
        assert lab.run("client", ["ip", "link", "del", "eth0"]).returncode == 0
        _, plan = lab.plugging.step("del", "client")
        assert plan is not None
        lab.places.change(plan)
        assert differences() == set()
