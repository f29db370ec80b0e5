"""What the README promises: its worked example is a design that passes every check."""

import json
import re
from pathlib import Path

import pytest

from testbed.designs import ATTACHMENTS, pairs
from testbed.designs.design import Design, refusal
from testbed.designs.transport import Transport
from testbed.lab.lab import Lab
from testbed.observe.reach import check_reach
from testbed.observe.wire import check_crossings
from testbed.spec.design import TransportSpec
from testbed.spec.load import load_topology
from tests import matrix, measured


def worked_example(repository: Path) -> Transport:
    text = (repository / "README.md").read_text()
    found = re.search(r"<!-- worked example.*?```python\n(.*?)```", text, re.DOTALL)
    assert found
    names: dict[str, object] = {}
    exec(compile(found[1], "README.md", "exec"), names)
    transport = names["TRANSPORT"]
    assert isinstance(transport, Transport)
    return transport


@pytest.mark.sealed
@pytest.mark.parametrize("attach", ["bridge", "routed", "ptp"])
@pytest.mark.parametrize("topology", ["two-nodes", "three-nodes", "dual-stack"])
def test_the_worked_example_passes_every_check(topology: str, attach: str, repository: Path) -> None:
    transport = worked_example(repository)
    assert refusal(ATTACHMENTS[attach], transport) == ""
    design = Design("example", ATTACHMENTS[attach], transport, TransportSpec(kind=transport.name))
    loaded = load_topology(repository / f"topologies/{topology}.yaml").value
    assert list(design.misfits(loaded)) == []
    with Lab(design.plan(loaded)) as lab:
        assert check_reach(lab.plan, lab.namespaces).failures == ()
        assert check_crossings(design, loaded, lab.plan, lab.namespaces)[1] == ()


def test_the_table_of_designs_is_that_of_the_results(repository: Path) -> None:
    results = json.loads(matrix.RESULTS.read_text())
    text = (repository / "README.md").read_text()
    assert text.split(matrix.BEGIN)[1].split(matrix.END)[0] == matrix.table(results)


@pytest.mark.parametrize("name", measured.TABLES)
def test_the_figures_are_those_of_the_results(name: str, repository: Path) -> None:
    found = measured.block(name).search((repository / "README.md").read_text())
    assert found
    assert found[2] == measured.table(name), "`python -m tests.measured` writes it anew"


def test_every_pair_was_proven_somewhere_in_every_family(repository: Path) -> None:
    results = json.loads(matrix.RESULTS.read_text())
    assert set(results["pairs"]) == set(pairs())
    for pair, cases in results["pairs"].items():
        assert set(matrix.FAMILIES.values()) <= set(cases), pair
        assert "failed" not in cases.values(), pair


def test_every_link_into_the_repository_is_there(repository: Path) -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", (repository / "README.md").read_text())
    assert links
    assert [link for link in links if not (repository / link).exists()] == []
