"""The kubelet of every node: containers of pods, their probes, their end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from testbed.kubernetes.containers import ContainerStatus
from testbed.kubernetes.state import ClusterState
from testbed.lab.places import Places


@dataclass(frozen=True)
class PodStatus:
    """What the kubelet reports of a pod."""

    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    ready: bool = False
    ended: bool = False
    """Whether it terminates and no container runs any more."""
    containers: tuple[ContainerStatus, ...] = ()
    """Init containers first."""


class Kubelet:
    """The containers of a lab."""

    def __init__(self, places: Places, host_images: bool, notify: Callable[[], None]) -> None:
        self._statuses: dict[str, PodStatus] = {}

    def follow(self, state: ClusterState) -> None:
        self._statuses = {
            pod.uid: PodStatus(
                "Running",
                ready=not pod.is_terminating,
                ended=pod.is_terminating,
                containers=tuple(
                    ContainerStatus(name=one.name, image=one.image or "", state="running", ready=True, started=True)
                    for one in pod.spec.containers
                ),
            )
            for pod in state.pods
            if pod.node
        }

    def statuses(self) -> Mapping[str, PodStatus]:
        return self._statuses

    def down(self) -> None:
        pass
