"""The beginning of a lab with Kubernetes manifests: its objects, its pods, and the plan with both."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.designs import Design
from testbed.plan.objects import Plan
from testbed.spec.load import Loaded
from testbed.spec.topology import Topology

if TYPE_CHECKING:
    from testbed.kubernetes.state import ClusterState


@dataclass(frozen=True)
class Beginning:
    """What a lab begins with."""

    loaded: Loaded[Topology]
    """The topology with the pods of the manifests."""
    plan: Plan
    state: "ClusterState | None" = None
    """The Kubernetes objects; None without manifests."""
    remarks: tuple[str, ...] = ()
    """Objects that were left out."""
    skipped: tuple[str, ...] = ()
    """Files of folders without objects."""


def begun_with(
    loaded: Loaded[Topology],
    design: Design,
    files: Iterable[Path] = (),
    *,
    offload: bool = True,
    namespace: str = "default",
    seed: int = 0,
) -> Beginning:
    """What a lab of a topology and a design begins with, with the manifests in files and those of the topology.

    Raises SpecError for mistakes in manifests.
    """
    files = tuple(files)
    topology = loaded.value
    if not files and not topology.manifests:
        return Beginning(loaded, design.plan(topology, offload))
    # Loaded only when needed, as this takes longer than to build a small lab.
    from testbed.kubernetes.verbs import applied
    from testbed.lab.cluster import converged
    from testbed.lab.editing import EditRefused, planned_with
    from testbed.lab.manifests import texts_for
    from testbed.plan.cluster import attached, cluster_of, with_pods

    given = texts_for(loaded, files)
    state = cluster_of(design.lay_out(topology), seed, time.time())
    outcome = applied(state, texts=given.texts, namespace=namespace)
    state = converged(outcome.state)
    known = frozenset(topology.pod_ids)
    fresh = [pod for key, pod in attached(state).items() if key not in known]
    try:
        after, plan = planned_with(topology, design, offload, lambda before: with_pods(before, (), fresh))
    except EditRefused:
        # The cluster attaches as many of the pods as possible.
        after, plan = topology, design.plan(topology, offload)
    return Beginning(replace(loaded, value=after), plan, state, outcome.remarks, given.skipped)
