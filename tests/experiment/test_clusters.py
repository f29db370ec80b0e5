"""Scenarios with Kubernetes manifests: their pods, and the paths that name them."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from testbed.designs import CATALOGUE
from testbed.experiment.clusters import with_manifests
from testbed.experiment.labs import prepare
from testbed.experiment.manifest import manifest_of, scenario_in
from testbed.experiment.schedule import Schedule
from testbed.spec.load import LoadedScenario, load_scenario
from testbed.spec.problems import SpecError

ROOT = Path(__file__).parent.parent.parent


def loaded(
    folder: Path, ends: str = "{from: app=agent, to: deployment/web}", manifests: str = "shop.yaml"
) -> LoadedScenario:
    (folder / "shop.yaml").write_text((ROOT / "examples/manifests/shop.yaml").read_text())
    file = folder / "scenario.yaml"
    file.write_text(
        f"name: shop\ntopology: {ROOT}/topologies/two-nodes.yaml\nmanifests: {manifests}\n"
        f"designs: [l3-host-routes]\nbaseline: l3-host-routes\npaths:\n  one: {ends}\n"
        "probes:\n  latency: {tool: sockperf, protocol: tcp, message: 64B, duration: 1s}\nrounds: 1\n"
    )
    return with_manifests(load_scenario(file, CATALOGUE))


@pytest.mark.parametrize(
    ("ends", "places"),
    [
        ("{from: app=agent, to: deployment/web}", ("agent-", "web-")),
        ("{from: client, to: db-1}", ("client", "db-1")),
        ("{from: deployment/web, to: deployment/web}", ("web-", "web-")),
        ("{from: node1, to: statefulset/db}", ("node1", "db-0")),
    ],
)
def test_paths_name_pods_of_manifests(tmp_path: Path, ends: str, places: tuple[str, str]) -> None:
    (cell,) = loaded(tmp_path, ends).cells
    path = cell.scenario.paths["one"]
    assert (path.source.startswith(places[0]), path.target.startswith(places[1])) == (True, True)
    assert path.source != path.target
    known = {*cell.topology.pod_ids, *cell.topology.nodes, "db-1"}  # The second pod follows the first.
    assert {path.source, path.target} <= known


@pytest.mark.parametrize(
    ("ends", "manifests", "line", "message"),
    [
        ("{from: client, to: db-9}", "shop.yaml", 7, "no pod or node 'db-9' besides 'client'"),
        ("{from: deployment/wep, to: client}", "shop.yaml", 7, "no pod or node 'deployment/wep'"),
        ("{from: client, to: db-0}", "sop.yaml", 3, "'sop.yaml' not found; a path is relative to this file"),
    ],
)
def test_mistakes_are_located(tmp_path: Path, ends: str, manifests: str, line: int, message: str) -> None:
    with pytest.raises(SpecError) as refused:
        loaded(tmp_path, ends, manifests)
    (problem,) = refused.value.problems
    assert (problem.line, problem.message) == (line, message)


def test_a_run_keeps_its_manifests(tmp_path: Path) -> None:
    scenario = loaded(tmp_path)
    kept = manifest_of(scenario, "scenario.yaml", Schedule.of(scenario, 1))
    (tmp_path / "shop.yaml").unlink()
    again = scenario_in(kept)
    assert again.cells[0].topology == scenario.cells[0].topology
    assert again.cells[0].scenario.paths == scenario.cells[0].scenario.paths


@pytest.mark.sealed
def test_a_lab_runs_the_containers(tmp_path: Path) -> None:
    scenario = loaded(tmp_path)
    (site,) = Schedule.of(scenario, 1).sites
    with ExitStack() as labs:
        prepared = prepare(site, "l3-host-routes", labs)
        assert prepared.lab is not None, prepared.facts
        pod = next(place for place in prepared.lab.namespaces if place.startswith("web-7"))
        address = prepared.lab.plan[pod].reached_at[0]
        done = prepared.lab.run("client", ["curl", "-s", "-m", "2", f"http://{address}:8080/hostname"])
        assert done.stdout == pod
