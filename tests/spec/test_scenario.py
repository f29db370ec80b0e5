"""Scenarios as models, and checks of values that must fit together."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from testbed.spec.design import Catalogue
from testbed.spec.probes import Iperf3Probe, SockperfProbe
from testbed.spec.problems import Misfit
from testbed.spec.scenario import Scenario
from testbed.spec.topology import Topology
from testbed.spec.types import duration_text

DESIGNS = Catalogue(("l2", "vxlan"))
TOPOLOGY = Topology.model_validate(
    {
        "name": "test",
        "cluster": {"pod_cidr": "10.244.0.0/16"},
        "fabric": {"subnet": "192.168.56.0/24"},
        "nodes": {"node1": {"pods": ["client"]}, "node2": {"pods": 2}},
    }
)


def scenario(**fields: Any) -> Scenario:
    whole = {
        "name": "test",
        "topology": "a.yaml",
        "designs": ["l2", "vxlan"],
        "baseline": "l2",
        "paths": {"cross-node": {"from": "client", "to": "node2-pod-2"}},
        "probes": {"latency": {"tool": "sockperf"}},
    }
    return Scenario.model_validate(whole | fields)


def misfits(scenario: Scenario) -> list[Misfit]:
    return list(scenario.misfits(TOPOLOGY, DESIGNS))


def test_endpoints_are_pods_and_nodes() -> None:
    paths = {"a": {"from": "client", "to": "node2-pod-1"}, "b": {"from": "node1", "to": "node2"}}
    assert misfits(scenario(paths=paths)) == []


def test_unknown_endpoint_names_the_valid_ones() -> None:
    (misfit,) = misfits(scenario(paths={"a": {"from": "client", "to": "node2-pod-3"}}))
    assert misfit.loc == ("paths", "a", "to")
    assert misfit.valid == ("client", "node2-pod-1", "node2-pod-2", "node1", "node2")


def test_endpoints_are_not_looked_up_without_a_topology() -> None:
    assert list(scenario(paths={"a": {"from": "x", "to": "y"}}).misfits(None, DESIGNS)) == []


def test_designs_are_known_and_listed_once() -> None:
    found = misfits(scenario(designs=["l2", "l3", "l2"]))
    assert [misfit.loc for misfit in found] == [("designs", 1), ("designs", 2)]


def test_baseline_is_one_of_the_designs() -> None:
    (misfit,) = misfits(scenario(designs=["vxlan"]))
    assert (misfit.loc, misfit.valid) == (("baseline",), ("vxlan",))


def test_probes() -> None:
    read = scenario(
        probes={
            "latency": {"tool": "sockperf", "message": "16KiB", "duration": "3s"},
            "throughput": {"tool": "iperf3", "streams": 4},
        }
    )
    assert read.probes == {
        "latency": SockperfProbe(tool="sockperf", message="16KiB", duration=timedelta(seconds=3)),  # type: ignore[arg-type]
        "throughput": Iperf3Probe(tool="iperf3", streams=4),
    }


@pytest.mark.parametrize("duration", ["1s", "1000ms", "1 min", "10min", "600s"])
def test_duration(duration: str) -> None:
    scenario(probes={"a": {"tool": "iperf3", "duration": duration}})


@pytest.mark.parametrize(
    "duration", ["999ms", "1.5s", "601s", 2, "2", "2 h", "-2s", "1e3s", "\u0663s", "9" * 400 + "s", "2s\n", ""]
)
def test_unusable_duration(duration: object) -> None:
    with pytest.raises(ValidationError):
        scenario(probes={"a": {"tool": "iperf3", "duration": duration}})


@pytest.mark.parametrize("message", ["13B", "65001B", "64", 64, "14.5B", "9" * 400 + "MiB"])
def test_unusable_message(message: object) -> None:
    with pytest.raises(ValidationError):
        scenario(probes={"a": {"tool": "sockperf", "message": message}})


def test_duration_as_a_user_writes_it() -> None:
    assert [duration_text(timedelta(milliseconds=ms)) for ms in (0, 500, 2000, 60_000, 90_000)] == [
        "0ms",
        "500ms",
        "2s",
        "1min",
        "90s",
    ]
