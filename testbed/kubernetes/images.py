"""What a container of a pod runs: a command of the machine, a stand-in for its image, or nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

from testbed.kubernetes.models.pods import Container

AGNHOST = "agnhost"
HOST = "host"
"""The image of containers that run programs of the machine."""
_ENTRY_POINTS: Mapping[str, tuple[str, ...]] = {
    HOST: (),
    AGNHOST: (),
    "alpine": (),
    "busybox": (),
    "curl": ("curl",),
    "dnsutils": (),
    "jessie-dnsutils": (),
    "netshoot": (),
    "network-multitool": (),
}
"""Images of tools that most machines have, with what runs before `args`."""


@dataclass(frozen=True)
class Command:
    """A command of the machine, before variables are replaced; without words nothing runs."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class StandIn:
    """A stand-in that serves the container's ports; the command line of agnhost says more of it."""

    words: tuple[str, ...] = ()


def base_name(image: str) -> str:
    """The last part of an image's name: `busybox` of `docker.io/library/busybox:1.36`."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]


def runs(container: Container, host_images: bool) -> Command | StandIn:
    """What a container runs. Without `host_images`, nothing of the machine."""
    image = container.image or ""
    name = base_name(image)
    words = (*container.command, *container.args)
    if not host_images or name not in _ENTRY_POINTS or (name == HOST and "/" in image) or _is_agnhost(container, words):
        return StandIn(words)
    if not words and container.ports:
        return StandIn()  # It has nothing to run that could serve them.
    if not container.command and words and words[0].startswith("-"):
        words = (*_ENTRY_POINTS[name], *words)
    return Command(words)


def _is_agnhost(container: Container, words: tuple[str, ...]) -> bool:
    """Whether it runs agnhost itself, which the stand-in plays."""
    if base_name(container.image or "") != AGNHOST:
        return False
    return not container.command or AGNHOST in words[0] or any(f"{AGNHOST} " in word for word in words)
