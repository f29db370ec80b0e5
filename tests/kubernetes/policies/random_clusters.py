"""Random clusters with policies, for hypothesis."""

from typing import Any

import yaml
from hypothesis import strategies as st

from testbed.kubernetes.state import ClusterState
from tests.kubernetes.policies.cases import cluster

LABELS = st.dictionaries(st.sampled_from("kl"), st.sampled_from("12"), max_size=2)
SELECTOR = st.one_of(
    st.builds(lambda labels: {"matchLabels": labels}, LABELS),
    st.builds(
        lambda key, operator, values: {
            "matchExpressions": [{"key": key, "operator": operator} | ({"values": values} if "In" in operator else {})]
        },
        st.sampled_from("kl"),
        st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]),
        st.lists(st.sampled_from("12"), min_size=1, max_size=2),
    ),
)
PORT = st.one_of(
    st.just({"port": 80}), st.just({"port": "web"}), st.just({"port": 80, "endPort": 81}), st.just({"protocol": "UDP"})
)
BLOCK = st.sampled_from([{"cidr": "10.244.0.0/30"}, {"cidr": "0.0.0.0/0", "except": ["10.244.0.4/30"]}])
PEER = st.one_of(
    SELECTOR.map(lambda one: {"podSelector": one}),
    SELECTOR.map(lambda one: {"namespaceSelector": one}),
    st.tuples(SELECTOR, SELECTOR).map(lambda two: {"podSelector": two[0], "namespaceSelector": two[1]}),
    BLOCK.map(lambda one: {"ipBlock": one}),
)


def network_policy(name: str, draw: Any) -> dict[str, Any]:
    rules = st.lists(st.tuples(st.lists(PEER, max_size=2), st.lists(PORT, max_size=2)), max_size=2)
    types = draw(st.sampled_from([["Ingress"], ["Egress"], ["Ingress", "Egress"]]))
    spec: dict[str, Any] = {"podSelector": draw(SELECTOR), "policyTypes": types}
    for direction, key in (("ingress", "from"), ("egress", "to")):
        spec[direction] = [{key: peers, "ports": ports} for peers, ports in draw(rules)]
    metadata = {"name": name, "namespace": draw(st.sampled_from("xy"))}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def cluster_policy(name: str, draw: Any) -> dict[str, Any]:
    subject = SELECTOR.map(lambda one: {"namespaces": one}) | SELECTOR.map(lambda one: {"pods": {"podSelector": one}})
    protocols = st.sampled_from([[], [{"tcp": {"destinationPort": {"number": 80}}}], [{"destinationNamedPort": "web"}]])
    action = st.sampled_from(["Accept", "Deny", "Pass"])
    rules = st.lists(st.tuples(action, st.lists(subject, min_size=1, max_size=2), protocols), max_size=3)
    spec: dict[str, Any] = {
        "tier": draw(st.sampled_from(["Admin", "Baseline"])),
        "priority": draw(st.integers(0, 3)),
        "subject": draw(subject),
    }
    for direction, key in (("ingress", "from"), ("egress", "to")):
        made = [{"action": one, key: peers, "protocols": ports} for one, peers, ports in draw(rules)]
        spec[direction] = made
    version = "policy.networking.k8s.io/v1alpha2"
    return {"apiVersion": version, "kind": "ClusterNetworkPolicy", "metadata": {"name": name}, "spec": spec}


@st.composite
def clusters(draw: Any) -> ClusterState:
    """A cluster of a few pods in two namespaces, with a few policies of all kinds."""
    pods = {}
    for number in range(draw(st.integers(2, 6))):
        ports = draw(st.sampled_from([[], [{"name": "web", "port": 80}], [{"name": "web", "port": 81}]]))
        pods[f"{draw(st.sampled_from('xy'))}/p{number}"] = {"labels": draw(LABELS), "ports": ports}
    made = [network_policy(f"np{number}", draw) for number in range(draw(st.integers(0, 3)))]
    made += [cluster_policy(f"cnp{number}", draw) for number in range(draw(st.integers(0, 3)))]
    namespaces = {"x": draw(LABELS), "y": draw(LABELS)}
    return cluster(namespaces, pods, yaml.safe_dump_all(made))
