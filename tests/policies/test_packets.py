"""Each engine against the oracle, by real packets on real kernels."""

import os
from pathlib import Path

import pytest

from testbed.lab.lab import Lab
from testbed.observe.inspect import inspect
from testbed.policies import ENGINES
from tests.kubernetes.policies.cases import Case, of_folder, own_cases
from tests.policies.labs import designed, differences, enforced

pytestmark = pytest.mark.sealed

SOME = ("isolation", "ports", "selectors")
"""Where CNI plugins attach pods, which takes longer."""
WAYS = (
    ("nftables", "vxlan", 4, ()),
    ("nftables", "vxlan", 6, ()),
    ("nftables", "l2", 4, ()),  # One Ethernet for all pods.
    ("nftables", "flannel-vxlan", 4, SOME),
    ("calico", "calico-vxlan", 4, ()),
    ("calico", "calico-vxlan", 6, ()),
    ("kube-router", "kube-router", 4, SOME),
    ("weave", "weave-sleeve", 4, ()),
)
"""Engine, design, family, and the names of cases; none for all."""
CASES = list(own_cases())
ANY_PORT = 7
"""Where a case writes 0."""
FOLDER = Path(os.environ.get("TESTBED_CASES", "/nonexistent"))


def compared(cases: list[Case], engine: str, design: str, family: int = 4) -> list[str]:
    """The differences from the oracle in all steps of cases, in one lab that changes from one to the next."""
    wrong: list[str] = []
    lab: Lab | None = None
    try:
        for case in cases:
            for number, step in enumerate(case.steps, 1):
                plan = designed(step.state, design, family, lab.drawn if lab else None)
                if lab is None:
                    lab = Lab(plan)
                else:
                    lab.change(plan)
                one = enforced(plan, lab.plan, step.state, ENGINES[engine], family)
                lab.change(one.plan)
                ports = {(row.protocol, row.port or ANY_PORT) for row in step.rows if row.protocol != "ICMP"}
                wrong += (f"{case.name} {number}: {line}" for line in differences(lab, one, sorted(ports)))
        if lab:
            wrong += map(str, inspect(lab.plan, lab.namespaces))
    finally:
        if lab:
            lab.down()
    return wrong


@pytest.mark.parametrize(("engine", "design", "family", "names"), WAYS)
def test_engine_and_oracle_agree_on_own_cases(engine: str, design: str, family: int, names: tuple[str, ...]) -> None:
    cases = [case for case in CASES if case.name in (names or case.name)]
    assert compared(cases, engine, design, family) == []


SHARED = sorted(file.parent for name in ("policies", "policies-derived") for file in FOLDER.glob(f"{name}/*/case.json"))
AT_A_TIME = 6
"""Cases in one lab, which does not give addresses of removed pods to others."""


@pytest.mark.whole_matrix
@pytest.mark.skipif(not SHARED, reason="TESTBED_CASES names no folder with cases")
@pytest.mark.parametrize(("engine", "design"), sorted({way[:2] for way in WAYS}))
@pytest.mark.parametrize("first", range(0, len(SHARED), AT_A_TIME))
def test_engine_and_oracle_agree_on_the_cases_of_others(engine: str, design: str, first: int) -> None:
    cases = [of_folder(folder) for folder in SHARED[first : first + AT_A_TIME]]
    assert compared(cases, engine, design) == []
