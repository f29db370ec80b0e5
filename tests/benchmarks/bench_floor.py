"""Time to build a lab, compared with the minimum for as many pods: handwritten netlink messages.

    sudo .venv/bin/python -m tests.benchmarks.bench_floor [--pods 512] [--nodes 16] [--rounds 5]

The floor creates for each pod a namespace, a veth pair to a single node namespace, an address and a default route. It
uses raw sockets and batches of messages, without a library, a bridge or sysctls, and checks only the last error of a
batch. The lab also has bridges, several nodes, Mininet hosts, sysctls and routes between nodes.
"""

import argparse
import os
import socket
import struct
import time

from mininet.log import setLogLevel

from testbed.designs import DESIGNS, PLAIN
from testbed.kernel.freeing import await_freed
from testbed.kernel.syscalls import CLONE_NEWNET, setns, unshare
from testbed.lab.capsule import enclosed
from testbed.lab.lab import Lab
from tests.benchmarks.alternately import measure_alternately, show, topology

REQUEST, ACK, CREATE = 0x1, 0x4, 0x600
NEWLINK, NEWADDR, NEWROUTE = 16, 20, 24
A_BATCH = 64


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def message(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body


def link(index: int, flags: int, *attributes: bytes) -> bytes:
    return struct.pack("=BxHiII", 0, 0, index, flags, flags) + b"".join(attributes)


def netlink() -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    sock.bind((0, 0))
    return sock


def send(sock: socket.socket, messages: list[bytes]) -> None:
    """Send messages, the last of which requests an acknowledgement."""
    sock.send(b"".join(messages))
    (error,) = struct.unpack_from("=i", sock.recv(65536), 16)
    assert error == 0, os.strerror(-error)


def new_namespace() -> int:
    unshare(CLONE_NEWNET)
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY)


def floor(pods: int) -> float:
    """Seconds to build the floor."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    begin = time.perf_counter()
    node = new_namespace()
    with netlink() as from_node:
        namespaces = [new_namespace() for _ in range(pods)]
        setns(node, CLONE_NEWNET)
        for start in range(0, pods, A_BATCH):
            numbers = range(start, min(start + A_BATCH, pods))
            batch = []
            for number in numbers:
                namespace = attribute(28, struct.pack("=I", namespaces[number]))
                peer = link(1000 + number, 0, attribute(3, b"eth0\0"), namespace)
                kind = attribute(1, b"veth\0") + attribute(2, attribute(1, peer))
                body = link(10 + number, 1, attribute(3, b"veth%d\0" % number), attribute(18, kind))
                batch.append(message(NEWLINK, REQUEST | CREATE | (ACK if number == numbers[-1] else 0), body))
            send(from_node, batch)
        for number, namespace in enumerate(namespaces):
            setns(namespace, CLONE_NEWNET)
            address, gateway = (socket.inet_aton(f"10.{1 + number // 250}.{number % 250}.{host}") for host in (2, 1))
            index = 1000 + number
            with netlink() as in_pod:
                send(
                    in_pod,
                    [
                        message(NEWLINK, REQUEST, link(index, 1)),
                        message(
                            NEWADDR,
                            REQUEST | CREATE,
                            struct.pack("=BBBBI", 2, 24, 0, 0, index) + attribute(2, address) + attribute(1, address),
                        ),
                        message(
                            NEWROUTE,
                            REQUEST | CREATE | ACK,
                            struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 3, 0, 1, 0)
                            + attribute(4, struct.pack("=i", index))
                            + attribute(5, gateway),
                        ),
                    ],
                )
    taken = time.perf_counter() - begin
    setns(home, CLONE_NEWNET)
    for descriptor in (home, node, *namespaces):
        os.close(descriptor)
    await_freed()
    return taken


def lab(design: str, nodes: int, pods: int) -> float:
    made = topology(nodes, pods)
    begin = time.perf_counter()
    built = Lab(DESIGNS[design].plan(made))
    taken = time.perf_counter() - begin
    built.down()
    await_freed()
    return taken


def work(nodes: int, pods: int, rounds: int) -> int:
    setLogLevel("critical")
    arms = {"floor": lambda: floor(pods)}
    for design in PLAIN:
        arms[design] = lambda design=design: lab(design, nodes, pods)  # type: ignore[misc]  # bound now, on purpose
    taken = measure_alternately(arms, rounds)
    in_ms = {name: [value / pods * 1000 for value in values] for name, values in taken.items()}
    show(f"build of {pods} pods on {nodes} nodes, planning included, {rounds} rounds", "ms per pod", in_ms, "floor")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pods", type=int, default=512)
    parser.add_argument("--nodes", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    return enclosed(lambda: work(chosen.nodes, chosen.pods, chosen.rounds))


if __name__ == "__main__":
    raise SystemExit(main())
