"""What the README promises: its worked example is a design that passes every check."""

import re
from pathlib import Path

import pytest

from testbed.designs.design import Design
from testbed.lab.lab import Lab
from testbed.observe.reach import check_reach
from testbed.observe.wire import check_crossings
from testbed.spec.load import load_topology


def worked_example(repository: Path) -> Design:
    text = (repository / "README.md").read_text()
    found = re.search(r"<!-- worked example.*?```python\n(.*?)```", text, re.DOTALL)
    assert found
    names: dict[str, object] = {}
    exec(compile(found[1], "README.md", "exec"), names)
    design = names["DESIGN"]
    assert isinstance(design, Design)
    return design


@pytest.mark.sealed
@pytest.mark.parametrize("topology", ["two-nodes", "three-nodes", "dual-stack"])
def test_the_worked_example_passes_every_check(topology: str, repository: Path) -> None:
    design = worked_example(repository)
    loaded = load_topology(repository / f"topologies/{topology}.yaml").value
    assert list(design.misfits(loaded)) == []
    with Lab(design.plan(loaded)) as lab:
        assert check_reach(lab.plan, lab.namespaces).failures == ()
        assert check_crossings(design, loaded, lab.plan, lab.namespaces)[1] == ()


def test_every_link_into_the_repository_is_there(repository: Path) -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", (repository / "README.md").read_text())
    assert links
    assert [link for link in links if not (repository / link).exists()] == []
