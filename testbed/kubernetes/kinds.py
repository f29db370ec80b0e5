"""Kinds of objects: their names in the API and in commands, and their models."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from testbed.kubernetes.fields import all_fields
from testbed.kubernetes.models.admin_policies import (
    AdminNetworkPolicy,
    BaselineAdminNetworkPolicy,
    baseline_name,
)
from testbed.kubernetes.models.apps import DaemonSet, Deployment, ReplicaSet, StatefulSet
from testbed.kubernetes.models.batch import Job
from testbed.kubernetes.models.cluster_policies import ClusterNetworkPolicy
from testbed.kubernetes.models.cni import NetworkAttachmentDefinition
from testbed.kubernetes.models.core import ConfigMap, Namespace, Node, Secret, Service, ServiceAccount
from testbed.kubernetes.models.discovery import EndpointSlice
from testbed.kubernetes.models.meta import Object
from testbed.kubernetes.models.networking import Ingress, NetworkPolicy
from testbed.kubernetes.models.pods import Pod
from testbed.kubernetes.models.values import label, label_1035, subdomain


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of object."""

    name: str
    api_version: str
    plural: str
    short_names: tuple[str, ...] = ()
    is_namespaced: bool = True
    model: type[Object] = Object
    check_name: Callable[[str], str] = subdomain
    """Raises ValueError for an invalid name."""

    @property
    def group(self) -> str:
        """API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def qualified(self) -> str:
        """Name in commands, such as `deployment.apps`."""
        return f"{self.name.lower()}.{self.group}" if self.group else self.name.lower()

    @property
    def names(self) -> tuple[str, ...]:
        """All names in commands."""
        return (self.plural, self.name.lower(), *self.short_names)


UNDERSTOOD = (
    Kind(
        name="Namespace",
        api_version="v1",
        plural="namespaces",
        short_names=("ns",),
        is_namespaced=False,
        model=Namespace,
        check_name=label,
    ),
    Kind(name="Node", api_version="v1", plural="nodes", short_names=("no",), is_namespaced=False, model=Node),
    Kind(name="ServiceAccount", api_version="v1", plural="serviceaccounts", short_names=("sa",), model=ServiceAccount),
    Kind(name="ConfigMap", api_version="v1", plural="configmaps", short_names=("cm",), model=ConfigMap),
    Kind(name="Secret", api_version="v1", plural="secrets", model=Secret),
    Kind(name="Pod", api_version="v1", plural="pods", short_names=("po",), model=Pod),
    Kind(name="Deployment", api_version="apps/v1", plural="deployments", short_names=("deploy",), model=Deployment),
    Kind(name="ReplicaSet", api_version="apps/v1", plural="replicasets", short_names=("rs",), model=ReplicaSet),
    Kind(name="StatefulSet", api_version="apps/v1", plural="statefulsets", short_names=("sts",), model=StatefulSet),
    Kind(name="DaemonSet", api_version="apps/v1", plural="daemonsets", short_names=("ds",), model=DaemonSet),
    Kind(name="Job", api_version="batch/v1", plural="jobs", model=Job),
    Kind(
        name="Service",
        api_version="v1",
        plural="services",
        short_names=("svc",),
        model=Service,
        check_name=label_1035,
    ),
    Kind(name="EndpointSlice", api_version="discovery.k8s.io/v1", plural="endpointslices", model=EndpointSlice),
    Kind(
        name="NetworkPolicy",
        api_version="networking.k8s.io/v1",
        plural="networkpolicies",
        short_names=("netpol",),
        model=NetworkPolicy,
    ),
    Kind(
        name="ClusterNetworkPolicy",
        api_version="policy.networking.k8s.io/v1alpha2",
        plural="clusternetworkpolicies",
        short_names=("cnp",),
        is_namespaced=False,
        model=ClusterNetworkPolicy,
    ),
    Kind(
        name="AdminNetworkPolicy",
        api_version="policy.networking.k8s.io/v1alpha1",
        plural="adminnetworkpolicies",
        short_names=("anp",),
        is_namespaced=False,
        model=AdminNetworkPolicy,
    ),
    Kind(
        name="BaselineAdminNetworkPolicy",
        api_version="policy.networking.k8s.io/v1alpha1",
        plural="baselineadminnetworkpolicies",
        short_names=("banp",),
        is_namespaced=False,
        model=BaselineAdminNetworkPolicy,
        check_name=baseline_name,
    ),
    Kind(
        name="Ingress",
        api_version="networking.k8s.io/v1",
        plural="ingresses",
        short_names=("ing",),
        model=Ingress,
    ),
    Kind(
        name="NetworkAttachmentDefinition",
        api_version="k8s.cni.cncf.io/v1",
        plural="network-attachment-definitions",
        short_names=("net-attach-def",),
        model=NetworkAttachmentDefinition,
    ),
)
"""Kinds that matter to networking, in the order in which a cluster needs them."""
BY_NAME: Mapping[str, Kind] = {kind.name: kind for kind in UNDERSTOOD}

_CLUSTER_WIDE = frozenset(
    [
        "APIService",
        "CSIDriver",
        "CSINode",
        "CertificateSigningRequest",
        "ClusterRole",
        "ClusterRoleBinding",
        "ClusterTrustBundle",
        "ComponentStatus",
        "CustomResourceDefinition",
        "DeviceClass",
        "DeviceTaintRule",
        "FlowSchema",
        "IPAddress",
        "IngressClass",
        "MutatingAdmissionPolicy",
        "MutatingAdmissionPolicyBinding",
        "MutatingWebhookConfiguration",
        "Namespace",
        "Node",
        "PersistentVolume",
        "PriorityClass",
        "PriorityLevelConfiguration",
        "ResourcePoolStatusRequest",
        "ResourceSlice",
        "RuntimeClass",
        "SelfSubjectAccessReview",
        "SelfSubjectReview",
        "SelfSubjectRulesReview",
        "ServiceCIDR",
        "StorageClass",
        "StorageVersion",
        "StorageVersionMigration",
        "SubjectAccessReview",
        "TokenReview",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration",
        "VolumeAttachment",
        "VolumeAttributesClass",
    ]
)


_SHORT = {
    "CertificateSigningRequest": ("csr",),
    "CronJob": ("cj",),
    "CustomResourceDefinition": ("crd", "crds"),
    "Endpoints": ("ep",),
    "Event": ("ev",),
    "HorizontalPodAutoscaler": ("hpa",),
    "LimitRange": ("limits",),
    "PersistentVolume": ("pv",),
    "PersistentVolumeClaim": ("pvc",),
    "PodDisruptionBudget": ("pdb",),
    "PriorityClass": ("pc",),
    "ReplicationController": ("rc",),
    "ResourceQuota": ("quota",),
    "StorageClass": ("sc",),
}


def kind_of(api_version: str, name: str) -> Kind | None:
    """The kind of an object; None for one that Kubernetes does not have."""
    own = BY_NAME.get(name)
    if own is not None and own.api_version == api_version:
        return own
    return _kept(api_version, name) if f"{api_version} {name}" in all_fields().kinds else None


def kept_kind(api_version: str, name: str) -> Kind:
    """A kind without a model, which Kubernetes has."""
    return _kept(api_version, name)


@cache
def _kept(api_version: str, name: str) -> Kind:
    return Kind(
        name=name,
        api_version=api_version,
        plural=_plural(name),
        short_names=_SHORT.get(name, ()),
        is_namespaced=name not in _CLUSTER_WIDE,
    )


def _plural(name: str) -> str:
    """Plural as Kubernetes builds it."""
    word = name.lower()
    if word == "endpoints":
        return word
    if word.endswith(("s", "ch", "x")):
        return f"{word}es"
    return f"{word.removesuffix('y')}ies" if word.endswith("y") and word[-2] not in "aeiou" else f"{word}s"


def kind_named(text: str) -> Kind | None:
    """The kind that a command names: `pods`, `pod`, `po`, `deployments.apps`, `pvc`."""
    name, _, group = text.lower().partition(".")
    found = (kind for kind in (*UNDERSTOOD, *_all_kept()) if name in kind.names and group in ("", kind.group))
    return next(found, None)


@cache
def _all_kept() -> tuple[Kind, ...]:
    """Kinds without a model; of several versions the stable one."""
    keys = (key.split() for key in all_fields().kinds)
    kinds = sorted((len(version.rpartition("/")[2]), name, version) for version, name in keys)
    chosen = {(name, version.rpartition("/")[0]): version for _, name, version in reversed(kinds)}
    return tuple(
        kind
        for (name, _), version in sorted(chosen.items())
        if (kind := kind_of(version, name)) and kind not in UNDERSTOOD and not name.endswith("List")
    )


def all_names() -> tuple[str, ...]:
    """Every name of a kind in commands."""
    return tuple(name for kind in UNDERSTOOD for name in kind.names)


def plurals() -> tuple[str, ...]:
    """The kinds that are understood, as commands name them."""
    return tuple(kind.plural for kind in UNDERSTOOD)
