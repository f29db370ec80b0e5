"""The printed commands, run in an empty namespace, build a network that passes the checks."""

import json
import subprocess
from pathlib import Path

import pytest

from testbed.designs import DESIGNS, PLAIN, design_of
from testbed.kernel.namespace import Namespace
from testbed.lab.lab import Lab
from testbed.observe.reach import check_reach
from testbed.observe.wire import check_crossings
from testbed.plan.objects import Plan
from testbed.plan.shell import script
from testbed.spec.load import load_topology
from testbed.spec.topology import Topology

BY_HAND = [
    *(pytest.param(name, family) for name in PLAIN for family in ("two-nodes", "dual-stack")),
    *(pytest.param(name, "two-nodes") for name in ("flannel-vxlan", "flannel-udp", "kube-router", "calico-bgp")),
    *(pytest.param(name, "two-nodes") for name in ("calico-vxlan", "cilium-native", "cilium-vxlan", "weave-sleeve")),
    *(pytest.param(name, "dual-stack") for name in ("flat-bridge+vxlan", "macvlan+l2", "ptp+vxlan-metadata")),
    *(pytest.param(f"routed+{kind}", "dual-stack") for kind in ("vxlan-learning", "srv6", "udp")),
    *(pytest.param("vxlan", fabric) for fabric in ("leaf-spine", "dual-homed", "two-subnets")),
    *(
        pytest.param(name, "dual-stack", marks=[pytest.mark.needs(*design_of(name).needs), pytest.mark.vm])
        for name in ("routed+ipip", "ptp+gre", "bridge+geneve", "bridge+wireguard", "bridge+ipsec", "ipvlan-l2+l2")
    ),
]
"""Without netkit, which the ip command of Debian 12 does not support."""


@pytest.mark.sealed
@pytest.mark.parametrize(("name", "topology"), BY_HAND)
def test_a_network_built_by_the_commands_passes_the_checks(
    name: str, topology: str, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = load_topology(repository / f"topologies/{topology}.yaml").value
    design = design_of(name)
    plan = design.plan(chosen)
    file = tmp_path / "plan.sh"
    file.write_text(script(plan))
    # The commands refer to programs relative to the repository.
    monkeypatch.chdir(repository)
    # The test runs in a capsule: an empty network namespace with its own /run.
    with (tmp_path / "said").open("w") as said:
        done = subprocess.run(["sh", "-e", file], stdout=said, stderr=said, check=False)
    assert (done.returncode, (tmp_path / "said").read_text().replace("ready\n", "")) == (0, "")
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert {line.split()[0] for line in listed.splitlines()} == {space.name for space in plan.spaces}
    namespaces = {space.name: Namespace.at(Path("/run/netns") / space.name) for space in plan.spaces}
    # WireGuard repeats a handshake after 5 s, and the peer may not have had its key when the first one was sent.
    attempts = (check_reach(plan, namespaces).failures for _ in range(3))
    assert next((failures for failures in attempts if not failures), "failed three times") == ()
    assert check_crossings(design, chosen, plan, namespaces)[1] == ()


def shown(namespaces: dict[str, Namespace], plan: Plan) -> dict[str, str]:
    """The output of tc and ethtool for every namespace and device, without handles, which the kernel chooses."""
    said: dict[str, str] = {}
    for space in plan.spaces:
        with namespaces[space.name].entered():
            listed = subprocess.run(["tc", "-json", "qdisc"], capture_output=True, text=True, check=True).stdout
            queues = sorted(json.loads(listed), key=lambda item: str(item["dev"]))
            said[space.name] = str([{**item, "handle": ""} for item in queues])
            for dev in plan.devices_of(space.name):
                command = ["ethtool", "--show-features", dev]
                said[f"{space.name} {dev}"] = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return said


@pytest.mark.sealed
@pytest.mark.parametrize("design", list(PLAIN))
def test_rates_and_offloads_set_by_the_commands_equal_those_of_a_lab(
    design: str, shaped: Topology, tmp_path: Path
) -> None:
    plan = DESIGNS[design].plan(shaped, offload=False)
    file = tmp_path / "plan.sh"
    file.write_text(script(plan))
    said = subprocess.run(["sh", "-e", file], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
    typed = {space.name: Namespace.at(Path("/run/netns") / space.name) for space in plan.spaces}
    with Lab(plan) as lab:
        assert shown(typed, plan) == shown(lab.namespaces, plan)
    assert "tbf" in shown(typed, plan)["node1_fabric"]


def test_the_script_has_a_title_for_each_section(two_nodes: Topology) -> None:
    lines = script(DESIGNS["vxlan"].plan(two_nodes)).splitlines()
    assert lines[0] == "#!/bin/sh -e"
    sections = [line for line in lines if line.startswith("# --- ")]
    assert "# --- node1: settings and devices" in sections
    assert "# --- Cables: veth pairs, each end in its namespace" in sections
