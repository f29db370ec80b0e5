"""State of a pod's containers, as the kubelet reports it in `status.containerStatuses`."""

from dataclasses import dataclass
from typing import Literal, Self

ContainerState = Literal["waiting", "running", "terminated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStatus:
    """One container of a pod. Times are in seconds since 1970."""

    name: str
    image: str = ""
    state: ContainerState = "waiting"
    reason: str = ""
    """Why it waits or ended: ContainerCreating, CrashLoopBackOff, Completed, Error, ..."""
    message: str = ""
    exit_code: int | None = None
    """Of a terminated container; 128 plus the number of a signal that ended it."""
    started_at: float | None = None
    finished_at: float | None = None
    ready: bool = False
    started: bool = False
    """Whether it runs and its startup probe succeeded."""
    restart_count: int = 0
    last: Self | None = None
    """The run before this one."""
    is_init: bool = False

    @property
    def has_succeeded(self) -> bool:
        return self.state == "terminated" and self.exit_code == 0
