"""Pods are replaced more often than their node has addresses: a recycled address works at once, for all neighbours."""

import pytest

from testbed.designs import design_of
from testbed.designs.design import Design
from testbed.lab.lab import Lab
from testbed.observe.check import check
from testbed.observe.inspect import inspect
from testbed.spec.edit import with_pods
from testbed.spec.load import topology_of_text
from testbed.spec.topology import Pod, Topology
from tests.cni.conftest import needs_plugins
from tests.lab.test_plugging import BRIDGE, designed

pytestmark = pytest.mark.sealed

IPV4 = "{pod_cidr: 10.244.0.0/16, node_prefix: 29}, fabric: {subnet: 192.168.56.0/24}"
DUAL = (
    '{pod_cidr: [10.244.0.0/16, "fd00:10:244::/112"], node_prefix: [29, 125]}, '
    'fabric: {subnet: [192.168.56.0/24, "fd00:1::/64"]}'
)
NODES = "nodes: {node1: {pods: [stays, near, x0]}, node2: {pods: [far]}}"
FREE = 3
"""Addresses of node1 besides those of the two pods that stay; Calico's blocks have two more."""
DUAL_STACK = ("l3-host-routes", "vxlan", "calico-vxlan", "cilium-native", "l2", "macvlan+l2")
IPV4_ONLY = ("flannel-vxlan", "weave-sleeve")


def made(cluster: str) -> Topology:
    return topology_of_text(f"{{name: recycling, cluster: {cluster}, {NODES}}}", "recycling.yaml").value


def reaches(lab: Lab, source: str, target: str) -> bool:
    """Whether each address of a pod answers within a second or two.

    On a busy machine the kernel starts the port of a new pod late, and a first packet may be lost. Neighbours that know
    only the earlier pod would fail for much longer.
    """
    return all(
        lab.run(source, ("ping", "-n", "-c1", "-i0.2", "-w2", str(address))).returncode == 0
        for address in lab.plan[target].reached_at
    )


def replaces(design: Design, topology: Topology, times: int) -> None:
    with Lab(design.plan(topology)) as lab:
        stays, addresses = lab.plan["stays"].reached_at, [lab.plan["x0"].reached_at]
        for number in range(1, times):
            topology = with_pods(topology, (f"x{number - 1}",), {"node1": [Pod(name=f"x{number}")]})
            lab.change(design.plan(topology, before=lab.drawn))
            addresses.append(lab.plan[f"x{number}"].reached_at)
            assert addresses[-1] not in (addresses[-2], stays)
            unreached = [one for one in ("near", "node1", "far", "node2") if not reaches(lab, one, f"x{number}")]
            assert not unreached, f"x{number} at {addresses[-1]}"
        assert len({*addresses}) < len(addresses)
        assert lab.plan["stays"].reached_at == stays
        assert inspect(lab.plan, lab.namespaces, lab.ended()) == ()
        verdict = check(design, topology, lab.plan, lab.namespaces)
        assert (verdict.failures, verdict.astray) == ((), ())


@pytest.mark.parametrize("name", DUAL_STACK + IPV4_ONLY)
def test_a_recycled_address_works_at_once(name: str) -> None:
    replaces(design_of(name), made(DUAL if name in DUAL_STACK else IPV4), FREE + 4)


@needs_plugins
@pytest.mark.parametrize(
    "design", [design_of("kube-router"), designed(BRIDGE, "host-routes")], ids=lambda design: design.name
)
def test_a_recycled_address_of_a_plugin_works_at_once(design: Design) -> None:
    replaces(design, made(IPV4), FREE + 4)
