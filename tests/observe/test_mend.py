"""The commands that `inspect` prints for random faults work once, in order, and leave no difference."""

import os
import subprocess
from collections.abc import Iterator
from functools import cache

import pytest

from testbed.designs import DESIGNS
from testbed.lab.door import Address
from testbed.lab.living import LivingLab, facts_of
from testbed.observe.inspect import Difference, inspect
from testbed.spec.load import Loaded, load_topology
from testbed.spec.topology import Topology
from tests.as_user import ROOT
from tests.observe.breaking import Fault, chosen, faults

pytestmark = pytest.mark.root
CASES = (("vxlan", "shaped"), ("calico-vxlan", "two-nodes"))
"""Designs and topologies: a bridge, VXLAN, rate limits; routed pods, policy routing, iptables, ipset."""
SEEDS = range(10)
FAULTS = 4


@cache
def topology(name: str) -> Loaded[Topology]:
    return load_topology(ROOT / f"topologies/{name}.yaml")


@pytest.fixture(scope="module", params=CASES, ids=["-".join(case) for case in CASES])
def lab(request: pytest.FixtureRequest) -> Iterator[LivingLab]:
    design, name = request.param
    plan = DESIGNS[design].plan(topology(name).value)
    up = LivingLab.bring_up(plan, f"test-mend-{os.getpid()}", facts_of(topology(name), DESIGNS[design].spec))
    yield up
    LivingLab(Address(os.geteuid(), up.name)).down()


def look(lab: LivingLab) -> tuple[Difference, ...]:
    plan, ended = lab.plan, lab.ended()
    return lab.inside(lambda namespaces: inspect(plan, namespaces, ended))


def run(lab: LivingLab, place: str, command: str) -> subprocess.CompletedProcess[bytes]:
    with lab.start(place, ["sh", "-ec", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        out, _ = process.communicate(timeout=60)
    return subprocess.CompletedProcess(command, process.returncode, out)


def mended(lab: LivingLab, broken: list[Fault]) -> None:
    """Run the commands once, in their order, up to one that fails; then nothing differs."""
    found = look(lab)
    told = "\n".join((*map(str, broken), *map(str, found)))
    assert found, told
    for item in found:
        for command in item.mend:
            done = run(lab, item.place, command)
            assert done.returncode == 0, f"{told}\n{item.place}: {command}: {done.stdout.decode()}"
    assert look(lab) == (), told


@pytest.mark.parametrize("seed", SEEDS)
def test_commands_fix_random_faults_in_one_pass(lab: LivingLab, seed: int) -> None:
    broken = [fault for fault in chosen(lab.plan, FAULTS, seed) if run(lab, *fault).returncode == 0]
    if broken:
        mended(lab, broken)


def test_every_kind_of_fault_is_named_and_fixed(lab: LivingLab) -> None:
    for kind, some in sorted(faults(lab.plan).items()):
        done = run(lab, *some[0])
        assert done.returncode == 0, (kind, some[0], done.stdout)
        mended(lab, [some[0]])
