"""Tracked flows of the calling thread's namespace, by ctnetlink (linux/netfilter/nfnetlink_conntrack.h)."""

import socket
from collections.abc import Iterable, Iterator

from testbed.kernel.netlink import connect, dump, remove
from testbed.plan.flows import Flow
from testbed.plan.messages import CHANGE, Request, address_in, attribute, attributes

NETLINK_NETFILTER = 12
_SUBSYSTEM = 1 << 8
_GET, _DELETE = _SUBSYSTEM | 1, _SUBSYSTEM | 2
_TUPLE_ORIG, _TUPLE_REPLY = 1, 2
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_SOURCE, _TARGET = {4: 1, 6: 3}, {4: 2, 6: 4}
_PROTO_NUM, _PROTO_SOURCE_PORT, _PROTO_TARGET_PORT = 1, 2, 3
_NESTED = 0x8000
_HEADER_SIZE = 4
"""struct nfgenmsg: family, version, resource."""
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_PROTOCOLS = {socket.IPPROTO_TCP: "tcp", socket.IPPROTO_UDP: "udp", socket.IPPROTO_SCTP: "sctp"}


def flows(family: int) -> Iterator[Flow]:
    """The flows of TCP, UDP and SCTP in a family. Raises OSError if the kernel has no ctnetlink."""
    header = bytes((_FAMILY[family], 0, 0, 0))
    with connect(NETLINK_NETFILTER) as sock:
        for message in dump(sock, _GET, header):
            found = attributes(message, _HEADER_SIZE)
            original, reply = attributes(found[_TUPLE_ORIG]), attributes(found[_TUPLE_REPLY])
            ports = attributes(original[_TUPLE_PROTO])
            protocol = _PROTOCOLS.get(ports[_PROTO_NUM][0])
            if protocol:
                ends = attributes(original[_TUPLE_IP])
                yield Flow(
                    protocol,
                    str(address_in(ends[_SOURCE[family]])),
                    int.from_bytes(ports[_PROTO_SOURCE_PORT], "big"),
                    str(address_in(ends[_TARGET[family]])),
                    int.from_bytes(ports[_PROTO_TARGET_PORT], "big"),
                    str(address_in(attributes(reply[_TUPLE_IP])[_SOURCE[family]])),
                    header + attribute(_TUPLE_ORIG | _NESTED, bytes(found[_TUPLE_ORIG])),
                )


def forget(gone: Iterable[Flow]) -> None:
    """Deletes flows; those that have ended are no error. Raises KernelRefusal."""
    remove((Request(_DELETE, CHANGE, one.key, lambda one=one: _command(one)) for one in gone), NETLINK_NETFILTER)  # type: ignore[misc]


def _command(flow: Flow) -> str:
    return (
        f"conntrack -D -p {flow.protocol} -s {flow.source} --sport {flow.source_port} -d {flow.target} "
        f"--dport {flow.target_port}"
    )
