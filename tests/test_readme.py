"""The worked example of docs/adding-a-design.md is a design that passes every check."""

from pathlib import Path

import pytest

from testbed.designs import ATTACHMENTS
from testbed.designs.design import Design, refusal
from testbed.designs.transport import Transport
from testbed.lab.lab import Lab
from testbed.observe.reach import check_reach
from testbed.observe.wire import check_crossings
from testbed.spec.design import TransportSpec
from testbed.spec.load import load_topology
from tests.pages import blocks

PAGE = "docs/adding-a-design.md"


def worked_example() -> Transport:
    (shown,) = [block.text for block in blocks(PAGE) if block.language == "python"]
    names: dict[str, object] = {}
    exec(compile(shown, PAGE, "exec"), names)
    transport = names["TRANSPORT"]
    assert isinstance(transport, Transport)
    return transport


@pytest.mark.sealed
@pytest.mark.parametrize("attach", ["bridge", "routed", "ptp"])
@pytest.mark.parametrize("topology", ["two-nodes", "three-nodes", "dual-stack"])
def test_the_worked_example_passes_every_check(topology: str, attach: str, repository: Path) -> None:
    transport = worked_example()
    assert refusal(ATTACHMENTS[attach], transport) == ""
    design = Design("example", ATTACHMENTS[attach], transport, TransportSpec(kind=transport.name))
    loaded = load_topology(repository / f"topologies/{topology}.yaml").value
    assert list(design.misfits(loaded)) == []
    with Lab(design.plan(loaded)) as lab:
        assert check_reach(lab.plan, lab.namespaces).failures == ()
        assert check_crossings(design, loaded, lab.plan, lab.namespaces)[1] == ()
