"""What must be reachable, as it follows from cluster state alone: pure, and without knowledge of any data plane."""

from collections.abc import Iterator
from dataclasses import dataclass

from testbed.kubernetes.state import ClusterState, Pod


@dataclass(frozen=True)
class ServedPort:
    """A port of a container that runs: every pod and node reaches it, at each address of the pod."""

    pod: Pod
    container: str
    port: int
    protocol: str
    """TCP, UDP or SCTP."""


def served_ports(state: ClusterState) -> Iterator[ServedPort]:
    """The ports of all containers that run, in the order of pods."""
    for pod in state.pods:
        if not pod.node or pod.is_finished or pod.is_terminating:
            continue
        running = {one.name for one in pod.containers if one.state == "running"}
        taken: set[tuple[int, str]] = set()
        for container in pod.spec.containers:
            for port in container.ports if container.name in running else ():
                key = port.container_port, port.protocol
                if key not in taken:
                    taken.add(key)
                    yield ServedPort(pod, container.name, *key)
