"""Names of places for programs in a lab: /etc/hosts, and the host name of pods."""

from collections.abc import Iterator
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


def host_name(pod: Space) -> str:
    """The pod's name, without its namespace."""
    return pod.name.partition(".")[0]


def hosts(plan: Plan) -> str:
    """The file of all places but pods: every pod, node and router."""
    return "\n".join(["127.0.0.1 localhost", "::1 localhost", *_known(plan)]) + "\n"


def hosts_of_pod(plan: Plan, pod: Space) -> str:
    """/etc/hosts of a pod, as kubelet writes it, followed by all other places."""
    names = " ".join(dict.fromkeys((host_name(pod), pod.name)))
    own = [f"{address}\t{names}" for address in pod.reached_at]
    return _KUBELETS + "\n".join([*own, "", "# The others of this lab.", *_known(plan, pod)]) + "\n"


def _known(plan: Plan, but: Space | None = None) -> Iterator[str]:
    for space in plan.of_kind(Kind.POD, Kind.NODE, Kind.ROUTER):
        if space is not but:
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
