"""Designs that do not fit a scenario's topology are refused or left out before anything is built."""

from pathlib import Path

from testbed.designs import CATALOGUE
from testbed.designs.fitting import check_designs
from testbed.spec.load import load_scenario
from testbed.spec.problems import SpecError

SCENARIO = """
name: racks
topology: {topology}
designs: [l3-host-routes, vxlan, l2]
baseline: {baseline}
paths: {{cross-node: {{from: client, to: web-2}}}}
probes: {{latency: {{tool: sockperf}}}}
unfit: {unfit}
sweep: {{topology.nodes.node2.at: [{racks}]}}
"""


def problems(folder: Path, repository: Path, baseline: str, unfit: str, racks: str) -> list[str]:
    file = folder / "racks.yaml"
    topology = repository / "topologies/two-subnets.yaml"
    file.write_text(SCENARIO.format(topology=topology, baseline=baseline, unfit=unfit, racks=racks))
    try:
        check_designs(load_scenario(file, CATALOGUE))
    except SpecError as error:
        return [problem.message for problem in error.problems]
    return []


def test_designs_that_fit_a_cell_may_be_left_out_of_others(tmp_path: Path, repository: Path) -> None:
    assert problems(tmp_path, repository, "vxlan", "leave-out", "rack1, rack2") == []


def test_unfit_refuse_rejects_designs_that_do_not_fit(tmp_path: Path, repository: Path) -> None:
    assert problems(tmp_path, repository, "vxlan", "refuse", "rack1, rack2")


def test_the_baseline_must_fit_all_cells(tmp_path: Path, repository: Path) -> None:
    (problem,) = problems(tmp_path, repository, "l3-host-routes", "leave-out", "rack1, rack2")
    assert problem.startswith("at=rack2: l3-host-routes needs all nodes in one subnet")


def test_each_design_must_fit_at_least_one_cell(tmp_path: Path, repository: Path) -> None:
    found = problems(tmp_path, repository, "vxlan", "leave-out", "rack2")
    assert [problem.split()[1] for problem in found] == ["l3-host-routes", "l2"]
