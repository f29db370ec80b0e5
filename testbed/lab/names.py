"""Names of places for programs in a lab: /etc/hosts, and the host name of pods."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from testbed.plan.objects import File, Kind, Plan, Space

HOSTS, HOST_NAME, RESOLVER = "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"
_KUBELETS = """\
# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""
"""Start of each pod's file in Kubernetes; the pod itself follows."""

_NAMED = (Kind.POD, Kind.NODE, Kind.ROUTER)


def host_name(pod: Space) -> str:
    """The pod's name, without its namespace."""
    return pod.name.partition(".")[0]


def hosts(lines: Iterable[str]) -> str:
    """/etc/hosts of all places except pods: the lines of every pod, node and router."""
    return "127.0.0.1 localhost\n::1 localhost\n" + "".join(lines)


def lines_of(space: Space) -> str:
    """The lines of a place in /etc/hosts; empty for a switch or a link."""
    if space.kind not in _NAMED:
        return ""
    return "".join(f"{address} {space.name}\n" for address in space.reached_at)


def hosts_of_pod(plan: Plan, pod: Space) -> str:
    """/etc/hosts of a pod, as kubelet writes it, followed by all other places."""
    names = " ".join(dict.fromkeys((host_name(pod), pod.name)))
    own = [f"{address}\t{names}" for address in pod.reached_at]
    return _KUBELETS + "\n".join([*own, "", "# Other places of this lab.", *_others(plan, pod)]) + "\n"


def _others(plan: Plan, pod: Space) -> Iterator[str]:
    for space in plan.of_kind(*_NAMED):
        if space is not pod:
            yield from (f"{address} {space.name}" for address in space.reached_at)


def files_of_pod(plan: Plan, pod: Space) -> tuple[File, ...]:
    """All files of a pod: the plan's, and default files for names unless the plan has them.

    The default /etc/resolv.conf is the machine's, if it exists.
    """
    given = {HOSTS: hosts_of_pod(plan, pod), HOST_NAME: f"{host_name(pod)}\n"}
    if Path(RESOLVER).is_file():
        given[RESOLVER] = Path(RESOLVER).read_text()
    usual = {path: File(path, text) for path, text in given.items()}
    return tuple((usual | {file.path: file for file in pod.of(File)}).values())
