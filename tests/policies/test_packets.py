"""Each engine against the oracle, by real packets on real kernels."""

import os
from pathlib import Path

import pytest

from testbed.lab.lab import Lab
from testbed.observe.inspect import inspect
from testbed.policies import ENGINES
from tests.kubernetes.policies.cases import Case, own_cases
from tests.policies.labs import designed, differences, enforced

pytestmark = pytest.mark.sealed

WAYS = (("nftables", "vxlan"), ("nftables", "l2"), ("nftables", "l3-host-routes"))
"""Engines, with designs: same-bridge packets, one Ethernet for all pods."""
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


@pytest.mark.parametrize(("engine", "design"), WAYS)
def test_own_cases(engine: str, design: str) -> None:
    assert compared(CASES, engine, design) == []
