"""Names of places for programs in a lab: host names, /etc/hosts and /etc/resolv.conf."""

from collections.abc import Iterable, Iterator

from testbed.kernel.folders import LOCALHOST
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
NO_DNS = """\
# No DNS server runs in this lab: /etc/hosts has the names of all places; look-ups of other names fail at once.
nameserver 127.0.0.1
options timeout:1 attempts:1
"""
"""Nothing listens there, so the kernel refuses queries immediately. The machine's server cannot be reached from a lab,
and a query to it would time out."""

_NAMED = (Kind.POD, Kind.NODE, Kind.ROUTER)


def host_name(space: Space) -> str:
    """The name of a place; of a pod without its namespace."""
    return space.name.partition(".")[0] if space.kind is Kind.POD else space.name


def hosts(lines: Iterable[str]) -> str:
    """/etc/hosts of all places except pods: the lines of every pod, node and router."""
    return LOCALHOST + "".join(lines)


def lines_of(space: Space) -> str:
    """The lines of a place in /etc/hosts; empty for a switch or a link."""
    if space.kind not in _NAMED:
        return ""
    return "".join(f"{address} {space.name}\n" for address in space.reached_at)


def hosts_of_pod(plan: Plan, pod: Space) -> str:
    """/etc/hosts of a pod, as kubelet writes it, followed by all other places."""
    names = " ".join(dict.fromkeys((host_name(pod), pod.name)))
    return _KUBELETS + "".join(f"{address}\t{names}\n" for address in pod.reached_at) + other_places(plan, pod)


def other_places(plan: Plan, pod: Space) -> str:
    """The last part of /etc/hosts of a pod: all other places."""
    return "\n".join(["", "# Other places of this lab.", *_others(plan, pod)]) + "\n"


def _others(plan: Plan, pod: Space) -> Iterator[str]:
    for space in plan.of_kind(*_NAMED):
        if space is not pod:
            yield from (f"{address} {space.name}" for address in space.reached_at)


def host_name_in(files: Iterable[File]) -> str:
    """The host name of a place with these files."""
    return next(file.text for file in files if file.path == HOST_NAME).strip()


def files_of(plan: Plan, space: Space, of_pod: Iterable[File] = ()) -> tuple[File, ...]:
    """All files of a place: the plan's, those of its pod, and default files for names unless there are others.

    Without /etc/hosts of Mininet hosts, which share a file that the lab's keeper updates.
    """
    given = {HOST_NAME: f"{host_name(space)}\n", RESOLVER: NO_DNS}
    if space.kind in (Kind.POD, Kind.CABLE):
        given[HOSTS] = hosts_of_pod(plan, space)
    usual = {path: File(path, text) for path, text in given.items()}
    return tuple((usual | {file.path: file for file in (*of_pod, *space.of(File))}).values())
