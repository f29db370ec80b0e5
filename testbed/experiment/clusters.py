"""Scenarios with Kubernetes manifests: the pods of their topologies, and the pods that paths name.

A path can name a pod, what made pods (`deployment/web`), or labels (`app=web`). What is measured are the pods that the
manifests make at first; names and places are the same in each run.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from testbed.kubernetes.references import scope
from testbed.kubernetes.refused import Refused
from testbed.kubernetes.state import ClusterState
from testbed.kubernetes.verbs import applied
from testbed.kubernetes.workloads import settled
from testbed.lab.cluster import converged
from testbed.lab.commands import pods_named
from testbed.lab.manifests import texts_for, texts_of
from testbed.plan.addressing import layout
from testbed.plan.cluster import attached, cluster_of, pod_id, with_pods
from testbed.spec.edit import EditError
from testbed.spec.load import Loaded, LoadedScenario
from testbed.spec.problems import Misfit, Problem, SpecError, item
from testbed.spec.scenario import Path as WrittenPath
from testbed.spec.scenario import Scenario
from testbed.spec.sweep import Cell
from testbed.spec.topology import Topology


def with_manifests(loaded: LoadedScenario) -> LoadedScenario:
    """The scenario with the pods of the manifests that it and its topology name. Raises SpecError."""
    if not loaded.value.manifests and not loaded.topology.value.manifests:
        return loaded
    folder = Path(loaded.source.file).parent
    paths = loaded.value.manifests
    missing = [
        loaded.source.problem(
            Misfit(item(("manifests",), number, paths), f"'{path}' not found; a path is relative to this file")
        )
        for number, path in enumerate(paths)
        if not (folder / path).exists()
    ]
    if missing:
        raise SpecError(tuple(missing))
    texts = (*texts_for(loaded.topology).texts, *(texts_of(folder / path for path in paths).texts if paths else ()))
    return with_texts(loaded, texts)


def checked_manifests(loaded: Loaded[Any]) -> None:
    """Read the manifests that a scenario or a topology names. Raises SpecError."""
    if isinstance(loaded, LoadedScenario):
        with_manifests(loaded)
    else:
        _begun(loaded, loaded.value, texts_for(loaded).texts)


def with_texts(loaded: LoadedScenario, texts: tuple[tuple[str, str], ...]) -> LoadedScenario:
    """The scenario with the pods of manifests, given as pairs of file name and text. Raises SpecError."""
    if not texts:
        return loaded
    begun: list[tuple[Topology, Topology, ClusterState]] = []
    made = []
    for cell in loaded.cells:
        found = next(((whole, state) for topology, whole, state in begun if topology == cell.topology), None)
        if found is None:
            found = _begun(loaded.topology, cell.topology, texts)
            begun.append((cell.topology, *found))
        made.append(_resolved(loaded, cell, *found))
    return replace(loaded, cells=tuple(made), manifests=texts)


def _begun(
    loaded: Loaded[Topology], topology: Topology, texts: tuple[tuple[str, str], ...]
) -> tuple[Topology, ClusterState]:
    """The topology with the pods of manifests, and the cluster's state. Raises SpecError."""
    state = converged(applied(cluster_of(layout(topology)), texts=texts).state)
    known = frozenset(topology.pod_ids)
    try:
        return with_pods(topology, (), [pod for key, pod in attached(state).items() if key not in known]), state
    except EditError as error:
        raise SpecError((Problem(loaded.source.file, 0, 0, str(error)),)) from None


def _resolved(loaded: LoadedScenario, cell: Cell, topology: Topology, state: ClusterState) -> Cell:
    """The cell with the names of places in its paths. Raises SpecError for those that name none."""
    # Pods of later steps too, such as the second pod of a StatefulSet.
    later = settled(state)
    problems: list[Problem] = []
    paths: dict[str, WrittenPath] = {}
    for name, path in cell.scenario.paths.items():
        ends: list[str] = []
        for key, written in (("from", path.source), ("to", path.target)):
            places = [place for place in _places(later, topology, written) if place not in ends]
            if places:
                ends.append(places[0])
                continue
            message = f"no pod or node '{written}' besides '{ends[0]}'" if ends else f"no pod or node '{written}'"
            valid = (*topology.nodes, *(pod_id(pod) for pod in later.pods))
            problems.append(loaded.source.problem(Misfit(("paths", name, key), message, valid=valid)))
        if len(ends) == 2:
            paths[name] = WrittenPath.model_validate({"from": ends[0], "to": ends[1]})
    if problems:
        raise SpecError(tuple(problems))
    scenario: Scenario = cell.scenario.model_copy(update={"paths": paths})
    return replace(cell, scenario=scenario, topology=topology, cluster=state)


def _places(state: ClusterState, topology: Topology, written: str) -> Iterator[str]:
    """The places that the end of a path may mean, the first choice first."""
    if written in topology.nodes or written in topology.pod_ids:
        yield written
    with suppress(Refused):
        if "/" in written:
            yield from (pod_id(pod) for pod in pods_named(state, written, "default"))
        elif "=" in written:
            chosen = scope(all_namespaces=True, selector=written)
            yield from sorted(pod_id(pod) for pod in state.pods if pod.node and chosen.has(pod))
        else:
            yield from (pod_id(pod) for pod in state.pods if pod_id(pod) == written)
