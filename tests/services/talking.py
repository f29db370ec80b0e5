"""Servers and clients for tests of Services; this file is also the program that runs in a lab.

talking.py serve NAME PORT       answers TCP and UDP with its name and the address of the client
talking.py ask JSON              connects to [address, port, protocol, times] each, prints the answers as JSON
"""

import json
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

PATIENCE_S = 3.5
"""TCP over IPv6 often ignores the first rejection, which arrives while connect() holds the socket, and repeats its SYN
after 1 s and after 3 s."""


def serve(name: str, port: int) -> None:
    stream = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
    datagram = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    datagram.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    datagram.bind(("::", port))

    def text(client: str) -> bytes:
        return f"{name} {client.removeprefix('::ffff:')}".encode()

    def answer_datagrams() -> None:
        while True:
            _, client = datagram.recvfrom(100)
            datagram.sendto(text(client[0]), client)

    threading.Thread(target=answer_datagrams, daemon=True).start()
    print("ready", flush=True)
    while True:
        connection, client = stream.accept()
        with connection:
            connection.sendall(text(client[0]))


def ask(address: str, port: int, protocol: str, source_port: int = 0) -> str:
    """`NAME CLIENT`, `refused`, `timeout` or another error in one word."""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as client:
        client.settimeout(PATIENCE_S)
        client.bind(("", source_port))
        try:
            client.connect((address, port))
            if protocol == "udp":
                client.send(b"?")
            return client.recv(100).decode()
        except (ConnectionRefusedError, PermissionError):  # The latter for datagrams that a node's own rules reject.
            return "refused"
        except TimeoutError:
            return "timeout"
        except OSError as error:
            return str(error).replace(" ", "-")


def ask_all(questions: list[tuple[str, int, str, int]]) -> list[list[str]]:
    def ask_one(question: tuple[str, int, str, int]) -> list[str]:
        *where, times = question
        answers: list[str] = []
        while len(answers) < times and (not answers or " " in answers[-1]):
            answers.append(ask(*where))  # type: ignore[arg-type]
        return answers

    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(ask_one, questions))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], int(sys.argv[3]))
    if sys.argv[1] == "once":
        print(ask(sys.argv[2], int(sys.argv[3]), "udp", int(sys.argv[4])))
    else:
        print(json.dumps(ask_all(json.loads(sys.argv[2]))))
