"""Status of a pod, as the kubelet reports it."""

from collections.abc import Sequence
from dataclasses import dataclass

from testbed.kubernetes.containers import ContainerStatus

CREATING, INITIALIZING, CRASH_LOOP = "ContainerCreating", "PodInitializing", "CrashLoopBackOff"
CONFIG_ERROR = "CreateContainerConfigError"


@dataclass(frozen=True, slots=True)
class PodStatus:
    """What the kubelet reports of a pod."""

    phase: str = "Pending"
    reason: str = ""
    """Why it failed as a whole."""
    message: str = ""
    ready: bool = False
    ended: bool = False
    """Whether it terminates and no container runs any more."""
    containers: tuple[ContainerStatus, ...] = ()
    """Init containers first."""


def phase_of(containers: Sequence[ContainerStatus], inits: Sequence[ContainerStatus], restart_policy: str) -> str:
    """The phase of a pod with these containers; `inits` are the init containers that must complete."""
    if not all(one.has_succeeded for one in inits):
        has_failed = restart_policy == "Never" and any(one.state == "terminated" and one.exit_code for one in inits)
        return "Failed" if has_failed else "Pending"
    if restart_policy != "Always" and all(one.state == "terminated" for one in containers):
        if all(one.has_succeeded for one in containers):
            return "Succeeded"
        if restart_policy == "Never":
            return "Failed"
    return "Running" if all(one.state != "waiting" or one.restart_count for one in containers) else "Pending"
