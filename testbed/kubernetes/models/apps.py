"""Workloads of the group apps: Deployment, ReplicaSet, StatefulSet, DaemonSet."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from testbed.kubernetes.models.meta import LabelSelector, Object, ObjectMeta
from testbed.kubernetes.models.model import Model
from testbed.kubernetes.models.pods import PodTemplate
from testbed.kubernetes.models.values import Count, Items, Share, Subdomain, share_of, word
from testbed.spec.problems import Misfit

ALWAYS = ("Always",)


class RollingDeployment(Model):
    """How many pods an update may add and take away."""

    max_surge: Share = "25%"
    max_unavailable: Share = "25%"

    def misfits(self) -> Iterator[Misfit]:
        if share_of(self.max_surge, 100, round_up=True) == share_of(self.max_unavailable, 100, round_up=True) == 0:
            yield Misfit(("maxUnavailable",), "cannot be 0 when maxSurge is 0, as no pod could be replaced")
        elif share_of(self.max_unavailable, 100, round_up=True) > 100 and isinstance(self.max_unavailable, str):
            yield Misfit(("maxUnavailable",), f"must be at most 100%, not {self.max_unavailable}")


class DeploymentStrategy(Model):
    """How pods are replaced by new ones."""

    type: Annotated[str, word("RollingUpdate", "Recreate")] = "RollingUpdate"
    rolling_update: RollingDeployment | None = None

    def misfits(self) -> Iterator[Misfit]:
        if self.type == "Recreate" and self.rolling_update is not None:
            yield Misfit(("rollingUpdate",), "requires `type: RollingUpdate`; remove it", at_key=True)


class _Workload(Model):
    """Fields of all workloads of this group."""

    selector: LabelSelector
    template: PodTemplate
    min_ready_seconds: Count = 0

    def misfits(self) -> Iterator[Misfit]:
        yield from self.template.template_misfits(self.selector, ALWAYS)


class _Updated(_Workload):
    """Fields of workloads that replace their pods after a change of the template."""

    revision_history_limit: Count = 10


class DeploymentSpec(_Updated):
    """Pods that are equal, replaced step by step."""

    replicas: Count = 1
    strategy: DeploymentStrategy = Field(default_factory=DeploymentStrategy)
    paused: bool = False
    progress_deadline_seconds: Count = 600

    def misfits(self) -> Iterator[Misfit]:
        yield from super().misfits()
        if self.progress_deadline_seconds <= self.min_ready_seconds:
            message = f"must be greater than minReadySeconds {self.min_ready_seconds}"
            yield Misfit(("progressDeadlineSeconds",), f"{message}, not {self.progress_deadline_seconds}")


class Deployment(Object):
    """A Deployment."""

    spec: DeploymentSpec


class ReplicaSetSpec(_Workload):
    """Pods that are equal."""

    replicas: Count = 1


class ReplicaSet(Object):
    """A ReplicaSet."""

    spec: ReplicaSetSpec


class Partition(Model):
    """Which pods of a StatefulSet an update replaces."""

    partition: Count = 0
    max_unavailable: Share = 1


class StatefulSetStrategy(Model):
    """How pods are replaced by new ones."""

    type: Annotated[str, word("RollingUpdate", "OnDelete")] = "RollingUpdate"
    rolling_update: Partition | None = None

    def misfits(self) -> Iterator[Misfit]:
        if self.type == "OnDelete" and self.rolling_update is not None:
            yield Misfit(("rollingUpdate",), "requires `type: RollingUpdate`; remove it", at_key=True)


class Ordinals(Model):
    """The number of the first pod."""

    start: Count = 0


class ClaimTemplate(Model):
    """A volume that each pod gets of its own."""

    metadata: ObjectMeta = Field(default_factory=ObjectMeta)


class StatefulSetSpec(_Updated):
    """Pods with numbers and stable names."""

    replicas: Count = 1
    service_name: Subdomain | None = None
    pod_management_policy: Annotated[str, word("OrderedReady", "Parallel")] = "OrderedReady"
    update_strategy: StatefulSetStrategy = Field(default_factory=StatefulSetStrategy)
    ordinals: Ordinals = Field(default_factory=Ordinals)
    volume_claim_templates: Items[ClaimTemplate] = ()

    def misfits(self) -> Iterator[Misfit]:
        claims = tuple(claim.metadata.name for claim in self.volume_claim_templates)
        yield from self.template.template_misfits(self.selector, ALWAYS, claims)


class StatefulSet(Object):
    """A StatefulSet."""

    spec: StatefulSetSpec


class RollingDaemonSet(Model):
    """How many nodes an update may leave without a pod, or give two."""

    max_surge: Share = 0
    max_unavailable: Share = 1

    def misfits(self) -> Iterator[Misfit]:
        surge = share_of(self.max_surge, 100, round_up=True)
        unavailable = share_of(self.max_unavailable, 100, round_up=True)
        if surge == unavailable == 0:
            yield Misfit(("maxUnavailable",), "cannot be 0 when maxSurge is 0, as no pod could be replaced")
        if surge and unavailable:
            yield Misfit(("maxSurge",), "must be 0 unless maxUnavailable is 0")


class DaemonSetStrategy(Model):
    """How pods are replaced by new ones."""

    type: Annotated[str, word("RollingUpdate", "OnDelete")] = "RollingUpdate"
    rolling_update: RollingDaemonSet | None = None


class DaemonSetSpec(_Updated):
    """A pod on each node."""

    update_strategy: DaemonSetStrategy = Field(default_factory=DaemonSetStrategy)


class DaemonSet(Object):
    """A DaemonSet."""

    spec: DaemonSetSpec
