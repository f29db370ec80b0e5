"""Kinds that are not in Kubernetes' own schemas, in the form of `fields.json`: see `testbed.kubernetes.fields`."""

from collections.abc import Mapping

_NAMESPACED_POD = {"namespaceSelector": "meta.v1.LabelSelector", "podSelector": "meta.v1.LabelSelector!"}
_INSIDE = {"namespaces": "meta.v1.LabelSelector", "pods": "policy.NamespacedPod"}
_OUTSIDE = {"nodes": "meta.v1.LabelSelector", "networks": "[string]"}

OWN_TYPES: dict[str, dict[str, str]] = {
    "List": {"items": "[any]!", "metadata": "meta.v1.ListMeta"},
    "NetworkAttachmentDefinitionSpec": {"config": "string"},
    "policy.NamespacedPod": _NAMESPACED_POD,
    "policy.Inside": _INSIDE,
    "policy.Outside": _INSIDE | _OUTSIDE,
    "policy.Anywhere": _INSIDE | _OUTSIDE | {"domainNames": "[string]"},
    "policy.Range": {"start": "int!", "end": "int!"},
    "policy.Port": {"number": "int", "range": "policy.Range"},
    "policy.Transport": {"destinationPort": "policy.Port"},
    "policy.Protocol": {
        **dict.fromkeys(("tcp", "udp", "sctp"), "policy.Transport"),
        "destinationNamedPort": "string",
    },
    "policy.IngressRule": {
        "name": "string",
        "action": "string!",
        "from": "[policy.Inside]!",
        "protocols": "[policy.Protocol]",
    },
    "policy.EgressRule": {
        "name": "string",
        "action": "string!",
        "to": "[policy.Anywhere]!",
        "protocols": "[policy.Protocol]",
    },
    "ClusterNetworkPolicySpec": {
        "tier": "string!",
        "priority": "int!",
        "subject": "policy.Inside!",
        "ingress": "[policy.IngressRule]",
        "egress": "[policy.EgressRule]",
    },
    "admin.PortNumber": {"protocol": "string", "port": "int!"},
    "admin.PortRange": {"protocol": "string", "start": "int!", "end": "int!"},
    "admin.Port": {"portNumber": "admin.PortNumber", "namedPort": "string", "portRange": "admin.PortRange"},
    "admin.IngressRule": {
        "name": "string",
        "action": "string!",
        "from": "[policy.Inside]!",
        "ports": "[admin.Port]",
    },
    "admin.EgressRule": {"name": "string", "action": "string!", "to": "[policy.Anywhere]!", "ports": "[admin.Port]"},
    "admin.BaselineEgressRule": {
        "name": "string",
        "action": "string!",
        "to": "[policy.Outside]!",
        "ports": "[admin.Port]",
    },
    "AdminNetworkPolicySpec": {
        "priority": "int!",
        "subject": "policy.Inside!",
        "ingress": "[admin.IngressRule]",
        "egress": "[admin.EgressRule]",
    },
    "BaselineAdminNetworkPolicySpec": {
        "subject": "policy.Inside!",
        "ingress": "[admin.IngressRule]",
        "egress": "[admin.BaselineEgressRule]",
    },
}
_SPECS = {
    "k8s.cni.cncf.io/v1 NetworkAttachmentDefinition": "NetworkAttachmentDefinitionSpec",
    "policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy": "ClusterNetworkPolicySpec!",
    "policy.networking.k8s.io/v1alpha1 AdminNetworkPolicy": "AdminNetworkPolicySpec!",
    "policy.networking.k8s.io/v1alpha1 BaselineAdminNetworkPolicy": "BaselineAdminNetworkPolicySpec!",
}
"""The type of the spec of each kind."""
OWN_KINDS: dict[str, str] = {"v1 List": "List"}


def _kind(name: str, spec: str) -> Mapping[str, dict[str, str]]:
    """The types of a kind and of its list."""
    return {
        name: {"metadata": "meta.v1.ObjectMeta", "spec": spec, "status": "object"},
        f"{name}List": {"items": f"[{name}]!", "metadata": "meta.v1.ListMeta"},
    }


for _key, _spec in _SPECS.items():
    _name = _key.split()[1]
    OWN_KINDS |= {_key: _name, f"{_key}List": f"{_name}List"}
    OWN_TYPES |= _kind(_name, _spec)
for _name in OWN_KINDS.values():
    OWN_TYPES[_name] = {"apiVersion": "string", "kind": "string"} | OWN_TYPES[_name]
