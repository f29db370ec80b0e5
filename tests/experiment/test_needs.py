"""Missing requirements are reported before a lab or run begins, on the command line and in Python."""

from pathlib import Path

import pytest

from testbed import Lab
from testbed.designs import DESIGNS
from testbed.experiment.needs import UNAVAILABLE, UNFIT, left_out, need_for_lab
from testbed.kernel.lacking import MachineLacks
from testbed.kernel.programs import PROGRAMS, need
from testbed.spec.load import load_topology
from testbed.spec.topology import Topology


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without programs."""
    monkeypatch.setenv("PATH", "/nonexistent")


@pytest.mark.usefixtures("bare")
def test_all_missing_programs_are_named_with_their_packages(two_nodes: Topology) -> None:
    with pytest.raises(MachineLacks) as lacks:
        need_for_lab(DESIGNS["flannel-vxlan"], two_nodes)
    lines = lacks.value.lines
    assert "the program mnexec is missing (starts Mininet's hosts): apt-get install mininet" in lines
    assert "the program iptables is missing (for designs with rules of iptables): apt-get install iptables" in lines
    assert str(lacks.value).startswith("this cannot be done here:\n  the program mnexec")


@pytest.mark.usefixtures("bare")
def test_lab_up_names_missing_programs(repository: Path) -> None:
    with pytest.raises(MachineLacks, match="mnexec"):
        Lab.up(repository / "topologies/two-nodes.yaml", "vxlan")


@pytest.mark.usefixtures("bare")
def test_a_single_missing_program_is_named() -> None:
    with pytest.raises(MachineLacks, match="the program dot is missing: apt-get install graphviz"):
        need("dot")


def test_a_design_is_left_out_because_of_topology_or_machine(two_nodes: Topology, repository: Path) -> None:
    racks = load_topology(repository / "topologies/racks.yaml").value
    assert left_out(DESIGNS["l2"], two_nodes, lambda *_: ()) is None
    state, reason = left_out(DESIGNS["l3-host-routes"], racks, lambda *_: ()) or ("", "")
    assert (state, bool(reason)) == (UNFIT, True)
    state, reason = left_out(DESIGNS["l2"], two_nodes, lambda *_: (PROGRAMS["dot"],)) or ("", "")
    assert (state, reason) == (UNAVAILABLE, "not available here: needs the program dot (package graphviz)")
