"""The cluster that manifests make on a topology, without building anything."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.cli.manifests import left_out_lines

if TYPE_CHECKING:
    from testbed.kubernetes.reading import Manifests
    from testbed.kubernetes.state import ClusterState


@dataclass(frozen=True)
class Settled:
    """A cluster once all updates are done."""

    state: "ClusterState"
    manifests: "Manifests"
    remarks: tuple[str, ...]
    """Lines about what was left out."""


def settled_cluster(topology: Path, files: tuple[Path, ...], seed: int = 0) -> Settled:
    """The cluster of a topology with these manifests. Raises SpecError."""
    from testbed.kubernetes.applying import apply
    from testbed.kubernetes.reading import read_manifests
    from testbed.kubernetes.workloads import settled
    from testbed.lab.manifests import texts_of
    from testbed.plan.addressing import layout
    from testbed.plan.cluster import cluster_of
    from testbed.spec.load import load_topology

    loaded = load_topology(topology)
    given = texts_of(files)
    manifests = read_manifests(given.texts)
    cluster = cluster_of(layout(loaded.value), seed, time.time())
    remarks = tuple(left_out_lines(manifests, given.skipped))
    return Settled(settled(apply(cluster, manifests).state), manifests, remarks)
