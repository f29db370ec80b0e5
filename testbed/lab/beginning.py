"""The beginning of a lab with Kubernetes manifests: its objects, its pods, and the plan with both."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.designs import Design
from testbed.plan.objects import Plan
from testbed.spec.agents import NONE, OWN
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
    agents: Mapping[str, str] = field(default_factory=dict)
    """The service proxy and the policy engine, as data of `testbed.lab.agents.Agents`."""


def begun_with(
    loaded: Loaded[Topology],
    design: Design,
    files: Iterable[Path] = (),
    *,
    offload: bool = True,
    namespace: str = "default",
    seed: int = 0,
    proxy: str = OWN,
    policies: str = OWN,
) -> Beginning:
    """What a lab of a topology and a design begins with, with the manifests in files and those of the topology.

    `proxy` and `policies` are names of `testbed.spec.agents`. Raises SpecError for mistakes in manifests, WrongEngine
    if the policy engine does not fit the design.
    """
    files = tuple(files)
    topology = loaded.value
    if not files and not topology.manifests and proxy in (NONE, OWN) and policies in (NONE, OWN):
        return Beginning(loaded, design.plan(topology, offload), agents={"proxy": proxy, "policies": policies})
    # Loaded only when needed, as this takes longer than to build a small lab.
    from testbed.kubernetes.verbs import applied
    from testbed.lab.agents import addressed, chosen
    from testbed.lab.cluster import converged
    from testbed.lab.editing import EditRefused, planned_with
    from testbed.lab.manifests import texts_for
    from testbed.plan.cluster import attached, cluster_of, with_pods
    from testbed.plan.parts import parts_of

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
    agents = chosen(proxy, policies, plan)
    parts = parts_of(plan)
    layout = parts.layout if parts else design.lay_out(after, plan.allocation)
    plan = agents.on(plan, layout, addressed(state, layout))
    whole = replace(loaded, value=after)
    return Beginning(whole, plan, state, outcome.remarks, given.skipped, agents.as_data())
