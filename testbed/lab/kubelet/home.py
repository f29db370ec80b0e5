"""Where the containers of a pod run, and what they share."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from testbed.kernel.namespace import Namespace
from testbed.kubernetes.environment import Addresses, environment
from testbed.kubernetes.models.pods import Container
from testbed.kubernetes.pod_files import host_name
from testbed.kubernetes.state import ClusterState, Pod
from testbed.lab.kubelet.asking import Target
from testbed.lab.kubelet.standins import StandIns
from testbed.lab.places import Places
from testbed.plan.cluster import pod_id

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def place_of(pod: Pod) -> str:
    """The place of a pod in the plan; with hostNetwork its node."""
    return pod.node if pod.spec.host_network else pod_id(pod)


@dataclass(slots=True)
class Home:
    """A pod's place in the lab."""

    places: Places
    standins: StandIns
    state: Callable[[], ClusterState]
    """The current cluster state."""
    changed: Callable[[], None]
    """To be called when the status of a container has changed."""
    pod: Pod
    place: str
    """Of the plan; with hostNetwork the node's."""
    network: Namespace
    addresses: Addresses

    @property
    def title(self) -> str:
        """The pod as kubelet names it in messages."""
        return f"{self.pod.name}_{self.pod.namespace}({self.pod.uid})"

    @property
    def host_name(self) -> str:
        return self.pod.node if self.pod.spec.host_network else host_name(self.pod)

    @property
    def is_of_job(self) -> bool:
        owner = self.pod.metadata.owner
        return owner is not None and owner.kind.name == "Job"

    @property
    def target(self) -> Target:
        """Where probes ask the pod."""
        return Target(self.places.namespaces[self.pod.node], next(iter(self.addresses.pod), ""))

    def variables(self, container: Container) -> dict[str, str]:
        """The variables of a container. Raises ConfigError."""
        return {"HOSTNAME": self.host_name} | environment(self.state(), self.pod, container, self.addresses)

    def environment(self, container: Container) -> dict[str, str]:
        """The whole environment of a container's programs. Raises ConfigError."""
        usual = {"PATH": os.environ.get("PATH", DEFAULT_PATH), "HOME": os.environ.get("HOME", "/root")}
        return usual | self.variables(container)
