"""Plans with a service proxy."""

from testbed.designs import DESIGNS
from testbed.kubernetes.applying import apply
from testbed.kubernetes.reading import read_manifests
from testbed.kubernetes.state import ClusterState
from testbed.kubernetes.workloads import step
from testbed.plan.addressing import Layout
from testbed.plan.change import diff
from testbed.plan.cluster import cluster_of
from testbed.plan.codec import plan_of_text, to_text
from testbed.plan.objects import Plan, Program
from testbed.plan.rulesets import Ruleset
from testbed.services.planned import PROXIES, with_services
from testbed.spec.load import topology_of_text

TOPOLOGY = """
name: services
cluster: {pod_cidr: [10.244.0.0/16, "fd00:10:244::/56"]}
fabric: {subnet: 192.168.56.0/24}
nodes: {node1: {pods: [{name: a, labels: {app: a}}]}, node2: {pods: [b]}}
"""
CHECKED = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  ipFamilyPolicy: RequireDualStack
  selector: {app: a}
  ports: [{port: 80}]
"""


def start(design: str = "vxlan") -> tuple[Plan, Layout, ClusterState]:
    topology = topology_of_text(TOPOLOGY, "services.yaml").value
    layout = DESIGNS[design].lay_out(topology)
    state = step(apply(cluster_of(layout), read_manifests([("web.yaml", CHECKED)])).state)
    return DESIGNS[design].plan(topology), layout, state


def owned(plan: Plan, node: str) -> list[str]:
    """Backends of the proxy's rules, and names of its programs."""
    rulesets = [one.backend for one in plan[node].of(Ruleset) if one.owner == "kube-proxy"]
    return [*rulesets, *(one.name for one in plan[node].of(Program))]


def test_each_node_has_the_rules_of_its_proxy() -> None:
    plan, layout, state = start()
    assert owned(with_services(plan, layout, state, "iptables"), "node2") == [
        "iptables",
        "ip6tables",
        "kube-proxy-health",
    ]
    assert owned(with_services(plan, layout, state, "nftables"), "node2") == ["nftables", "kube-proxy-health"]
    assert with_services(plan, layout, state, "none") == plan


def test_one_proxy_replaces_another() -> None:
    plan, layout, state = start()
    first = with_services(plan, layout, state, "iptables")
    assert owned(with_services(first, layout, state, "nftables"), "node1") == ["nftables", "kube-proxy-health"]
    assert with_services(first, layout, state, "iptables") == first


def test_only_changed_nodes_and_rules_are_changed() -> None:
    plan, layout, state = start()
    for proxy in PROXIES:
        before = with_services(plan, layout, state, proxy)
        assert diff(before, with_services(plan, layout, state, proxy)) == ()
    changes = diff(plan, with_services(plan, layout, state, "nftables"))
    assert {change.space for change in changes} == {"node1", "node2"}


def test_a_node_without_an_address_in_a_family_has_no_node_ports_in_it() -> None:
    plan, layout, state = start()
    (ruleset,) = (one for one in with_services(plan, layout, state, "nftables")["node1"].of(Ruleset))
    sets = {one.table: one.members for one in ruleset.sets if one.name == "nodeport-ips"}
    assert sets == {"ip kube-proxy": ('"192.168.56.1"',), "ip6 kube-proxy": ()}


def test_plans_with_services_can_be_stored() -> None:
    plan, layout, state = start()
    made = with_services(plan, layout, state, "nftables")
    assert plan_of_text(to_text(made)) == made
