"""Cells of a sweep: every combination of values, applied to the scenario and the topology."""

from pathlib import Path

import pytest

from testbed.spec.design import Catalogue
from testbed.spec.load import LoadedScenario, load_scenario, scenario_of_texts
from testbed.spec.probes import IrttProbe, SockperfProbe
from testbed.spec.problems import SpecError

DESIGNS = Catalogue(("l2", "vxlan"))
SCENARIO = """
name: test
topology: {topology}
designs: [l2, vxlan]
baseline: l2
paths:
  cross-node: {{from: client, to: web-2}}
probes:
  latency: {{tool: sockperf, message: 64B}}
  open: {{tool: irtt}}
{sweep}
"""


@pytest.fixture
def load(tmp_path: Path, repository: Path):  # type: ignore[no-untyped-def]
    def loaded(sweep: str) -> LoadedScenario:
        file = tmp_path / "test.yaml"
        file.write_text(SCENARIO.format(topology=repository / "topologies/two-nodes.yaml", sweep=sweep))
        return load_scenario(file, DESIGNS)

    return loaded


def test_without_a_sweep_there_is_one_cell_without_a_name(load) -> None:  # type: ignore[no-untyped-def]
    loaded = load("")
    (cell,) = loaded.cells
    assert (cell.name, cell.factors) == ("", {})
    assert (cell.scenario, cell.topology) == (loaded.value, loaded.topology.value)


def test_every_combination_is_a_cell(load) -> None:  # type: ignore[no-untyped-def]
    cells = load("sweep: {topology.fabric.mtu: [1500, 9000], offload: [on, off], probes.latency.message: [1KiB]}").cells
    assert [cell.name for cell in cells] == [
        "mtu=1500 offload=on message=1KiB",
        "mtu=1500 offload=off message=1KiB",
        "mtu=9000 offload=on message=1KiB",
        "mtu=9000 offload=off message=1KiB",
    ]
    assert [cell.topology.fabric.mtu for cell in cells] == [1500, 1500, 9000, 9000]
    assert [cell.scenario.offload for cell in cells] == [True, False, True, False]
    assert {cell.scenario.probes["latency"].message for cell in cells} == {1024}  # type: ignore[union-attr]
    assert cells[1].factors == {
        "topology.fabric.mtu": "1500",
        "offload": "off",
        "probes.latency.message": "1KiB",
    }
    assert not cells[0].scenario.sweep


def test_a_key_that_the_file_does_not_have_may_be_swept(load) -> None:  # type: ignore[no-untyped-def]
    cells = load("sweep: {topology.fabric.rate: [10Mbit, 1Gbit], probes.open.load: [0, 2]}").cells
    assert [cell.topology.fabric.rate for cell in cells] == [10**7, 10**7, 10**9, 10**9]
    assert [cell.scenario.probes["open"].load for cell in cells] == [0, 2, 0, 2]  # type: ignore[union-attr]


def test_qualities_of_links_may_be_swept(load) -> None:  # type: ignore[no-untyped-def]
    cells = load("sweep: {topology.fabric.delay: [0ms, 100us, 1ms], topology.fabric.loss: [1%]}").cells
    ways = [cell.topology.underlay.links[1].forth for cell in cells]
    assert [(way.delay_us, way.loss) for way in ways] == [(0, 0.01), (100, 0.01), (1000, 0.01)]


def test_factors_with_the_same_name_are_shown_by_path(load) -> None:  # type: ignore[no-untyped-def]
    cells = load("sweep: {probes.latency.message: [64B], probes.open.message: [100B, 200B]}").cells
    assert cells[1].name == "probes.latency.message=64B probes.open.message=200B"
    assert cells[1].scenario.probes == {
        "latency": SockperfProbe(tool="sockperf", message="64B"),  # type: ignore[arg-type]
        "open": IrttProbe(tool="irtt", message="200B"),  # type: ignore[arg-type]
    }


def test_nodes_and_pods_may_be_counted(load, tmp_path: Path, repository: Path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "grid.yaml"
    file.write_text(
        f"name: grid\ntopology: {repository / 'topologies/grid.yaml'}\ndesigns: [l2]\nbaseline: l2\n"
        "paths: {a: {from: node1-pod-1, to: node2-pod-1}}\nprobes: {latency: {tool: sockperf}}\n"
        "sweep: {topology.nodes: [2, 3], topology.pods_per_node: [1, 20]}\n"
    )
    cells = load_scenario(file, DESIGNS).cells
    assert [(len(cell.topology.nodes), len(cell.topology.pod_ids)) for cell in cells] == [
        (2, 2),
        (2, 40),
        (3, 3),
        (3, 60),
    ]
    assert cells[3].topology.pod_ids[-1] == "node3-pod-20"


def test_an_invalid_combination_is_named(load) -> None:  # type: ignore[no-untyped-def]
    """Each value is valid by itself."""
    with pytest.raises(SpecError) as caught:
        load(
            "sweep: {topology.fabric.mtu: [1000, 1500], "
            "topology.fabric.subnet: [10.9.0.0/24, [10.9.0.0/24, 'fd01::/64']]}"
        )
    messages = [problem.message for problem in caught.value.problems]
    assert any("mtu=1000" in message and "IPv6" in message for message in messages)
    assert not any(message.startswith("mtu=1500") for message in messages)


def test_too_many_combinations_are_refused(load) -> None:  # type: ignore[no-untyped-def]
    many = ", ".join(f"{size}B" for size in range(100, 200))
    with pytest.raises(SpecError, match="the sweep has 10000 combinations, but at most 1000"):
        load(f"sweep: {{probes.latency.message: [{many}], probes.open.message: [{many}]}}")


def test_a_scenario_can_be_read_from_the_texts_that_a_run_keeps(load) -> None:  # type: ignore[no-untyped-def]
    loaded = load("sweep: {offload: [on, off]}")
    texts = ((loaded.source.text, "gone.yaml"), (loaded.topology.source.text, "gone-too.yaml"))
    again = scenario_of_texts(*texts, DESIGNS)
    assert (again.value, again.cells) == (loaded.value, loaded.cells)
