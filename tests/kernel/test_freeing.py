"""Released namespaces are freed, with all their objects."""

import pytest

from testbed.designs import DESIGNS
from testbed.kernel.freeing import await_freed
from testbed.kernel.memory import kernel_memory_kib
from testbed.lab.lab import Lab
from testbed.spec.topology import Node, Topology

pytestmark = pytest.mark.sealed


@pytest.mark.exclusive
def test_the_memory_of_a_lab_is_freed(two_nodes: Topology) -> None:
    """After waiting only for devices, nearly all of it would still be in use."""
    many = two_nodes.model_copy(update={"nodes": {"node1": Node(pods=100)}})
    plan = DESIGNS["vxlan"].plan(many)
    Lab(plan).down()  # Allocates what the kernel keeps for reuse.
    await_freed()
    before = kernel_memory_kib()
    with Lab(plan):
        held = kernel_memory_kib() - before
    await_freed()
    assert kernel_memory_kib() - before < held / 2
