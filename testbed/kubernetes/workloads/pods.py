"""Pods made from a workload's template."""

from collections.abc import Mapping
from typing import Any

from testbed.kubernetes.models.pods import Pod as WrittenPod
from testbed.kubernetes.models.pods import PodSpec, PodTemplate
from testbed.kubernetes.naming import generated, template_hash
from testbed.kubernetes.state import ClusterState, Metadata, Owner, Pod, Resource


def owner_of(resource: Resource) -> Owner:
    """A reference to the object that makes others."""
    return Owner(resource.kind, resource.name, resource.uid)


def hash_of(resource: Resource) -> str:
    """The hash of a workload's template."""
    return template_hash(resource.body["spec"]["template"])


class PodMaker:
    """Makes the pods of one workload. Those with the same spec share it."""

    def __init__(self, state: ClusterState, owner: Resource, template: PodTemplate) -> None:
        self.state = state
        self.owner = owner
        self.template = template
        self.raw: dict[str, Any] = owner.body["spec"]["template"].get("spec", {})
        self.typed = WrittenPod.model_construct(spec=template.spec)
        self.taken: set[str] = set()
        self.existing = state.of("Pod")

    def make(
        self,
        name: str = "",
        *,
        prefix: str = "",
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        spec: PodSpec | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Pod:
        """A new pod with this name, or a generated one; `spec` and `extra` are its own spec, typed and as data."""
        name = name or generated(
            prefix or f"{self.owner.name}-",
            self._is_taken,
            *(self.state.seed, self.owner.uid, self.state.version, len(self.taken)),
        )
        self.taken.add(name)
        meta = self.template.metadata
        typed = WrittenPod.model_construct(spec=spec) if spec else self.typed
        return Pod(
            metadata=Metadata(
                name=name,
                namespace=self.owner.namespace,
                labels={**meta.labels, **(labels or {})},
                annotations={**meta.annotations, **(annotations or {})},
                owner=owner_of(self.owner),
            ),
            typed=typed,
            body={"spec": {**self.raw, **extra} if extra else self.raw},
            node=typed.spec.node_name or "",
        )

    def _is_taken(self, name: str) -> bool:
        return name in self.taken or (self.owner.namespace, name) in self.existing
