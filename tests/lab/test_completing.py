"""The objects that CNI plugins created: veth ends are matched to pairs, and results compared with the kernel."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from testbed.designs import CATALOGUE, design_of
from testbed.designs.design import Design
from testbed.kernel.refusal import PlanRefused
from testbed.lab.door import Address, Unanswered
from testbed.lab.lab import Lab
from testbed.lab.living import LivingLab, facts_of
from testbed.spec.design import ReadCni, TransportSpec
from testbed.spec.load import load_design, load_topology
from testbed.spec.topology import Topology
from tests.cni.conftest import needs_plugins

ROOT = Path(__file__).parents[2]
PTP = """{
  "cniVersion": "1.0.0", "name": "mynet",
  "plugins": [{"type": "ptp", "ipam": {"type": "host-local", "subnet": "{{ node.pod_cidr }}"}}]
}"""


def designed(text: str, *folders: Path) -> Design:
    texts = (("10-mynet.conflist", text),)
    data = {"name": "mynet", "cni": texts[0][0], "transport": TransportSpec(kind="none"), "texts": texts}
    return design_of(ReadCni.model_validate(data | ({"bin": tuple(map(str, folders))} if folders else {})))


def shell() -> Design:
    return design_of(load_design(ROOT / "examples/my-plugin.yaml", CATALOGUE))


@needs_plugins
@pytest.mark.sealed
@pytest.mark.parametrize("network", ["shell", "ptp"])
def test_the_ends_of_veth_pairs_are_matched(network: str, repository: Path) -> None:
    """On every node the ends of the first pod's pair have the same indexes."""
    shell = design_of(load_design(repository / "examples/my-plugin.yaml", CATALOGUE))
    design = {"shell": shell, "ptp": designed(PTP)}[network]
    with Lab(design.plan(load_topology(repository / "topologies/three-nodes.yaml").value)) as lab:
        pairs = {frozenset((end.space, end.name) for end in (veth.a, veth.b)) for veth in lab.plan.veths}
        assert lab.plan.plugged
        for item in lab.plan.plugged:
            to = str(lab.plan[item.space].reached_at[0])
            (route,) = json.loads(lab.run(item.node, ["ip", "-json", "route", "get", to]).stdout)
            assert frozenset(((item.space, item.ifname), (item.node, route["dev"]))) in pairs


LIES = """#!/bin/sh
[ "$CNI_COMMAND" = VERSION ] && echo '{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}'
[ "$CNI_COMMAND" = ADD ] || exit 0
%s
echo "{\\"cniVersion\\": \\"1.0.0\\", \\"interfaces\\": [{\\"name\\": \\"eth0\\", \\"sandbox\\": \\"$CNI_NETNS\\"}],
    \\"ips\\": [{\\"address\\": \\"10.244.0.9/24\\", \\"interface\\": 0}]}"
"""
IN_POD = 'nsenter --net="$CNI_NETNS" ip'
MAKING = f"{IN_POD} link add eth0 type veth peer name other"
LYING = '{"cniVersion": "1.0.0", "name": "mynet", "plugins": [{"type": "lies"}]}'


def lying(folder: Path, does: str) -> Design:
    program = folder / "lies"
    program.write_text(LIES % does)
    program.chmod(0o755)
    return designed(LYING, folder)


@pytest.mark.sealed
@pytest.mark.parametrize(
    ("does", "what"),
    [
        ("", "in node1, pod client: network mynet: result has interface eth0, not found in the pod"),
        (
            MAKING,
            "in node1, pod client: network mynet: result has address 10.244.0.9, not found on eth0",
        ),
        (
            f"{MAKING}; {IN_POD} address add 10.244.0.9/24 dev other",
            "in node1, pod client: network mynet: result has address 10.244.0.9, not found on eth0",
        ),
        (
            f"{MAKING}; {IN_POD} address add 10.244.0.9/24 dev eth0",
            "in node1, pod web-1: network mynet: result has address 10.244.0.9, already assigned to client",
        ),
    ],
    ids=["no device", "no address", "address elsewhere", "one address twice"],
)
def test_a_plugin_result_that_differs_from_the_kernel_is_refused(
    does: str, what: str, two_nodes: Topology, tmp_path: Path
) -> None:
    with pytest.raises(PlanRefused) as raised:
        Lab(lying(tmp_path, does).plan(two_nodes))
    assert str(raised.value).splitlines()[0] == what


@pytest.fixture
def name() -> Iterator[str]:
    wanted = f"test-completing-{os.getpid()}"
    yield wanted
    with suppress(Unanswered):
        LivingLab(Address(os.geteuid(), wanted)).down()


@pytest.mark.root
def test_a_wrong_plugin_result_in_a_running_lab_is_reported(name: str, tmp_path: Path) -> None:
    design = lying(tmp_path, """echo '{"cniVersion": "1.0.0"}'; exit""")
    on = load_topology(ROOT / "topologies/two-nodes.yaml")
    plan = design.plan(on.value)
    lab = LivingLab.bring_up(plan, name, facts_of(on, design.spec))
    lying(tmp_path, "")
    assert lab.plug("del", "client")["error"] == ""
    step = lab.plug("add", "client")
    assert step["error"] == "network mynet: result has interface eth0, not found in the pod"
