"""Designs that do not fit a scenario's topology are refused or left out before anything is built."""

from pathlib import Path

import pytest

from testbed.designs import CATALOGUE, design_of
from testbed.designs.fitting import check_design
from testbed.spec.load import load_design, load_scenario, load_topology
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
        load_scenario(file, CATALOGUE)
    except SpecError as error:
        return [problem.message for problem in error.problems]
    return []


def test_designs_that_fit_a_cell_may_be_left_out_of_others(tmp_path: Path, repository: Path) -> None:
    assert problems(tmp_path, repository, "vxlan", "leave-out", "rack1, rack2") == []


def test_unfit_refuse_rejects_designs_that_do_not_fit(tmp_path: Path, repository: Path) -> None:
    found = problems(tmp_path, repository, "vxlan", "refuse", "rack1, rack2")
    assert ["l3-host-routes needs" in found[0], "l2 needs" in found[1]] == [True, True]
    assert all("1 of 2 cells, such as at=rack2" in problem and "`unfit: leave-out`" in problem for problem in found)


def test_the_baseline_must_fit_all_cells(tmp_path: Path, repository: Path) -> None:
    (problem,) = problems(tmp_path, repository, "l3-host-routes", "leave-out", "rack1, rack2")
    assert "l3-host-routes needs all nodes in one subnet" in problem
    assert problem.endswith("the baseline must fit")


def test_designs_that_fit_no_cell_may_be_left_out_too(tmp_path: Path, repository: Path) -> None:
    assert problems(tmp_path, repository, "vxlan", "leave-out", "rack2") == []


def test_a_value_at_fault_is_located_in_the_file_of_the_design(tmp_path: Path, repository: Path) -> None:
    file = tmp_path / "large.yaml"
    file.write_text("name: large\nattach: routed\ntransport: vxlan\nmtu: 9000\n")
    large = design_of(load_design(file, CATALOGUE))
    topology = load_topology(repository / "topologies/two-nodes.yaml")
    with pytest.raises(SpecError) as caught:
        check_design(large, topology, str(file))
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.found) == (str(file), 4, "9000")
