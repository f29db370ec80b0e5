"""Topologies and designs as the data that a lab stores."""

import json
import warnings
from pathlib import Path

import pytest

from testbed.spec.load import load_topology, topology_of_text
from testbed.spec.problems import SpecError
from testbed.spec.topology import Topology

TOPOLOGIES = sorted((Path(__file__).parents[2] / "topologies").glob("*.yaml"))
EVERY_QUALITY = """
name: every-quality
cluster: {pod_cidr: [10.244.0.0/16, "fd00:10:244::/56"], node_prefix: [25, 64], node_rules: 7}
fabric:
  switches: {rack1: {subnet: 192.168.1.0/24}, rack2: {subnet: 192.168.2.0/24}}
  routers: [core]
  links:
    - {ends: [node1, rack1], rate: 1.5Gbit, queue: 256KiB, delay: 0.3ms, jitter: 100us, loss: 0.1%, duplicate: 1%}
    - {ends: [node2, rack2], delay: 1ms, reorder: 2%, offload: off, mtu: 1500, back: {delay: 2ms}}
    - {ends: [core, rack1]}
    - {ends: [core, rack2]}
nodes: {node1: {pods: [client, {name: web, namespace: shop, labels: {app: web}}]}, node2: {pods: 3}}
"""


def restored(topology: Topology) -> Topology:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return Topology.of_data(json.loads(json.dumps(topology.as_data())))


@pytest.mark.parametrize("file", TOPOLOGIES, ids=lambda file: file.stem)
def test_a_stored_topology_is_read_back_equal(file: Path) -> None:
    topology = load_topology(file).value
    assert restored(topology) == topology
    assert restored(topology).underlay == topology.underlay


def test_a_topology_with_every_quality_is_read_back_equal() -> None:
    topology = topology_of_text(EVERY_QUALITY, "t.yaml").value
    assert restored(topology) == topology


@pytest.mark.parametrize("link", ["delay: 1", "delay: 0.5", "queue: 64000"])
def test_a_user_must_write_the_unit(link: str) -> None:
    with pytest.raises(SpecError, match="with its unit"):
        topology_of_text(EVERY_QUALITY.replace("{ends: [core, rack1]}", f"{{ends: [core, rack1], {link}}}"), "t.yaml")
