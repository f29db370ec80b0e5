"""Engines against the oracle on random clusters, by real packets."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from testbed.kubernetes.state import ClusterState
from testbed.lab.lab import Lab
from testbed.policies import ENGINES
from tests.kubernetes.policies.cases import cluster
from tests.kubernetes.policies.random_clusters import clusters
from tests.policies.labs import designed, differences, enforced

PORTS = (("TCP", 80), ("TCP", 81), ("UDP", 80))
MANY = 500
WAYS = (
    ("nftables", "vxlan"),
    ("calico", "calico-vxlan"),
    ("kube-router", "kube-router"),
    ("weave", "weave-sleeve"),
)
FEW = {"nftables": 15, "calico": 15, "kube-router": 3, "weave": 8}
"""Examples in an ordinary run; CNI plugins attach kube-router's pods, which takes longer."""


def agrees(engine: str, design: str, examples: int) -> None:
    """Engine and oracle agree on random clusters, in one lab that changes from one to the next."""
    plan = designed(cluster({"x": {}}, {"x/a": {}}, ""), design)
    with Lab(plan) as lab:

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )
        @given(clusters())
        def check(state: ClusterState) -> None:
            plan = designed(state, design, before=lab.drawn)
            lab.change(plan)
            one = enforced(plan, lab.plan, state, ENGINES[engine])
            lab.change(one.plan)
            assert differences(lab, one, PORTS) == []

        check()


@pytest.mark.sealed
@pytest.mark.parametrize(("engine", "design"), WAYS)
def test_engine_and_oracle_agree_on_random_clusters(engine: str, design: str) -> None:
    agrees(engine, design, FEW[engine])


@pytest.mark.sealed
@pytest.mark.whole_matrix
@pytest.mark.parametrize(("engine", "design"), WAYS)
def test_engine_and_oracle_agree_on_many_random_clusters(engine: str, design: str) -> None:
    agrees(engine, design, MANY)
