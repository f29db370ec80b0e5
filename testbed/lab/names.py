"""Under which names the programs of a lab know its places, and pods themselves: /etc/hosts, and the host name."""

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
"""How each pod's file begins in Kubernetes; then comes the pod itself."""

_NAMED = (Kind.POD, Kind.NODE, Kind.ROUTER)


def host_name(pod: Space) -> str:
    """The pod's name, without its namespace."""
    return pod.name.partition(".")[0]


def hosts(lines: Iterable[str]) -> str:
    """The file of all places but pods: the lines of every pod, node and router."""
    return "127.0.0.1 localhost\n::1 localhost\n" + "".join(lines)


def lines_of(space: Space) -> str:
    """Those of a place in that file; none of a switch or a link."""
    if space.kind not in _NAMED:
        return ""
    return "".join(f"{address} {space.name}\n" for address in space.reached_at)


def hosts_of_pod(plan: Plan, pod: Space) -> str:
    """A pod's file, as kubelet writes it, and behind that all others."""
    names = " ".join(dict.fromkeys((host_name(pod), pod.name)))
    own = [f"{address}\t{names}" for address in pod.reached_at]
    return _KUBELETS + "\n".join([*own, "", "# The others of this lab.", *_known(plan, pod)]) + "\n"


def _known(plan: Plan, but: Space) -> Iterator[str]:
    for space in plan.of_kind(*_NAMED):
        if space is not but:
            yield from (f"{address} {space.name}" for address in space.reached_at)


def files_of_pod(plan: Plan, pod: Space) -> tuple[File, ...]:
    """All files of a pod: the plan's, and for names what every pod has if the plan does not say otherwise.

    The machine's own /etc/resolv.conf is read for it, if there is one.
    """
    given = {HOSTS: hosts_of_pod(plan, pod), HOST_NAME: f"{host_name(pod)}\n"}
    if Path(RESOLVER).is_file():
        given[RESOLVER] = Path(RESOLVER).read_text()
    usual = {path: File(path, text) for path, text in given.items()}
    return tuple((usual | {file.path: file for file in pod.of(File)}).values())
