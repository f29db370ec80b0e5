"""The stand-in for images in real network namespaces: what clients see, port conflicts, ends, restarts, many pods."""

import asyncio
import errno
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection

import pytest

from testbed.kernel.namespace import Namespace
from testbed.lab.standin import KILLED, Facts, Port, Served, ServedState, StandIn, command, environment
from testbed.programs.standin import dial

pytestmark = pytest.mark.root
PATIENCE_S = 15.0
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
FACTS = Facts("web-1", "web-1", "shop", "node1", "web", "nginx:1.27", ("10.244.0.2", "fd00:10:244::2"))
WEB, UDP, SCTP = Port(80, "TCP"), Port(81, "UDP"), Port(82, "SCTP")
families = pytest.mark.parametrize("version", [4, 6], ids=lambda version: f"IPv{version}")


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.005)


class Pod:
    """A network namespace with a loopback device, and clients in it."""

    def __init__(self) -> None:
        self.network = Namespace.create()
        self.run("ip", "link", "set", "lo", "up")

    def run(self, *command: str) -> str:
        with self.network.entered():
            return subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE_S).stdout

    def curl(self, url: str, *options: str) -> str:
        return self.run("curl", "-sS", "-g", "--max-time", "10", *options, f"http://{url}")

    def connected(self, port: int = 80, version: int = 4, kind: int = socket.SOCK_STREAM) -> socket.socket:
        with self.network.entered():
            family = socket.AF_INET6 if version == 6 else socket.AF_INET
            sock = socket.socket(family, kind)
        sock.settimeout(PATIENCE_S)
        sock.connect((LOOPBACK[version], port))
        return sock

    def asked(self, text: bytes, port: int = 80, version: int = 4) -> bytes:
        """What a TCP server sends after this text until it closes, if the client half-closes the connection."""
        with self.connected(port, version) as sock:
            sock.sendall(text)
            sock.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: sock.recv(65536), b""))

    def refuses(self, port: int = 80) -> bool:
        try:
            self.connected(port).close()
        except ConnectionError:  # A reset, if the port is closed just then.
            return True
        return False

    def close(self) -> None:
        self.network.close()


@contextmanager
def pod() -> Iterator[Pod]:
    one = Pod()
    try:
        yield one
    finally:
        one.close()


class Serving:
    """A stand-in, and the notifications that it gave."""

    def __init__(self) -> None:
        self.notified = threading.Event()
        self.standin = StandIn(self.notified.set)

    def state(self, id: str = "web") -> ServedState:
        return self.standin.states()[id]

    def serve(
        self,
        at: Pod,
        *ports: Port,
        id: str = "web",
        facts: Facts = FACTS,
        arguments: Sequence[str] = (),
        ready_paths: Sequence[str] = (),
    ) -> ServedState:
        """The state of a container after its start."""
        served = Served.of(
            id=id, network=at.network.fd, facts=facts, ports=ports, arguments=arguments, ready_paths=ready_paths
        )
        self.standin.serve([served])
        until(lambda: self.state(id).phase != "starting")
        return self.state(id)


@pytest.fixture
def serving() -> Iterator[Serving]:
    one = Serving()
    yield one
    one.standin.down()


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Pod, Serving]]:
    """A container with a port of each protocol, for tests that do not change it."""
    one = Serving()
    with pod() as at:
        one.serve(at, WEB, UDP)
        yield at, one
    one.standin.down()


@pytest.fixture(scope="module")
def web(shared: tuple[Pod, Serving]) -> Pod:
    return shared[0]


# What clients see


@families
def test_the_page_tells_who_serves_whom(web: Pod, version: int) -> None:
    host = "[::1]" if version == 6 else "127.0.0.1"
    lines = dict(
        line.split(": ", 1) for line in web.curl(f"{host}/any/path?x=1", "-A", "me").splitlines() if ": " in line
    )
    assert lines.pop("client").startswith(f"{host}:")
    assert lines == {
        "hostname": "web-1",
        "pod": "web-1",
        "namespace": "shop",
        "node": "node1",
        "container": "web",
        "image": "nginx:1.27",
        "addresses": "10.244.0.2 fd00:10:244::2",
        "server": f"{host}:80",
        "method": "GET",
        "path": "/any/path?x=1",
        "protocol": "HTTP/1.1",
        "  Host": host,
        "  User-Agent": "me",
        "  Accept": "*/*",
    }


def test_the_page_is_json_for_clients_that_accept_it(web: Pod) -> None:
    found = json.loads(web.curl("127.0.0.1/", "-H", "Accept: application/json", "-H", "X-One: 1"))
    assert (found["pod"], found["addresses"]) == ("web-1", ["10.244.0.2", "fd00:10:244::2"])
    assert found["headers"]["X-One"] == "1"


@pytest.mark.parametrize(
    ("path", "options", "status", "text"),
    [
        ("/hostname", (), 200, "web-1"),
        ("/hostName", (), 200, "web-1"),
        ("/serverport", (), 200, "80"),
        ("/echo?msg=two%20words", (), 200, "two words"),
        ("/echo?msg=gone&code=410", (), 410, "gone"),
        ("/echo", ("-d", "msg=form"), 200, "form"),
        ("/header?key=x-one", ("-H", "X-One: 1"), 200, "1"),
        ("/redirect?location=/echo%3Fmsg=there&code=307", ("-L",), 200, "there"),
        ("/healthz", (), 200, "ok"),
        ("/hostname", ("-T", __file__), 200, "web-1"),
        ("/exit?code=128", (), 200, "argument 'code' must be an integer [0-127] or empty, got '128'\n"),
        ("/exit?wait=soon", (), 200, "argument 'wait' must be a valid golang duration or empty, got 'soon'\n"),
    ],
)
def test_paths_answer_as_those_of_netexec(
    web: Pod, path: str, options: tuple[str, ...], status: int, text: str
) -> None:
    assert web.curl(f"127.0.0.1{path}", "-w", "|%{http_code}", *options) == f"{text}|{status}"


@families
def test_the_client_reads_its_own_address_and_port(web: Pod, version: int) -> None:
    with web.connected(version=version) as sock:
        sock.sendall(b"GET /clientip HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
        port = sock.getsockname()[1]
    assert answer.endswith(f"\r\n\r\n[::1]:{port}" if version == 6 else f"\r\n\r\n127.0.0.1:{port}")


@pytest.mark.parametrize("path", ["/shell?cmd=touch%20{}", "/upload"])
def test_nothing_is_executed_or_stored(web: Pod, path: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("shell") / "made"
    answer = web.curl(f"127.0.0.1{path.format(file)}", "-F", f"file=@{__file__}", "-w", "|%{http_code}")
    text, _, status = answer.rpartition("|")
    assert status == "403"
    assert "a stand-in" in json.loads(text)["error"]
    assert not file.exists()


def test_a_large_body_is_streamed(web: Pod) -> None:
    size = 300_000_001
    written = web.curl(f"127.0.0.1/bytes?size={size}", "-o", "/dev/null", "-w", "%{size_download}")
    assert written == str(size)


def test_a_large_upload_is_discarded_after_100_continue(web: Pod, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("upload") / "big"
    with file.open("wb") as sparse:
        sparse.truncate(20 << 20)
    trace = web.curl("127.0.0.1/hostname", "-T", str(file), "-H", "Expect: 100-continue", "-i")
    assert trace.startswith("HTTP/1.1 100 Continue")
    assert trace.endswith("\nweb-1")


def test_requests_on_one_connection_are_answered_in_order(web: Pod) -> None:
    requests = b"".join(
        f"GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        for path in ("echo?msg=1", "bytes?size=5", "dial?host=127.0.0.1&port=80&request=hostname", "echo?msg=4")
    )
    answer = web.asked(b"\r\n" + requests)
    positions = [answer.find(text) for text in (b"\r\n\r\n1HTTP", bytes(5), b'{"responses": ["web-1"]}', b"\r\n\r\n4")]
    assert positions == sorted(positions) and positions[0] > 0


def test_head_has_no_body_and_the_connection_stays(web: Pod) -> None:
    with web.network.entered():
        connection = HTTPConnection("127.0.0.1", 80, timeout=PATIENCE_S)
        connection.connect()
    connection.request("HEAD", "/bytes?size=1000")
    answer = connection.getresponse()
    assert (answer.getheader("Content-Length"), answer.read()) == ("1000", b"")
    connection.request("GET", "/hostname")
    assert connection.getresponse().read() == b"web-1"
    connection.close()


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"xyz\n", b"400"),
        (b"\x16\x03\x01\x02\x00", b"400"),
        (b"*1\r\n$4\r\nPING\r\n", b"400"),
        (b"GET /\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", b"400"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"505"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"5\r\nhello\r\n" * 100_000, b"411"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, b"431"),
        (b"x" * 70_000, b"414"),
    ],
    ids=lambda value: value[:12].decode("latin-1").encode("unicode_escape").decode(),
)
def test_what_is_no_request_is_refused_and_harms_nobody(web: Pod, text: bytes, status: bytes) -> None:
    assert web.asked(text).startswith(b"HTTP/1.1 " + status)
    assert web.curl("127.0.0.1/hostname") == "web-1"


def test_lines_of_text_are_answered_over_tcp(web: Pod) -> None:
    assert web.asked(b"hostname\necho Hi You\n") == b"web-1\nhi you\n"
    assert web.asked(b"hostname") == b"web-1\n"


def test_a_silent_or_slow_client_keeps_nobody_waiting(web: Pod) -> None:
    with web.connected() as silent, web.connected() as slow, web.connected() as greedy:
        slow.sendall(b"GET /host")
        greedy.sendall(b"GET /bytes?size=1000000000 HTTP/1.1\r\n\r\n")  # It reads nothing.
        assert web.curl("127.0.0.1/hostname") == "web-1"
        slow.sendall(b"name HTTP/1.1\r\n\r\n")
        assert slow.recv(65536).endswith(b"web-1")
        silent.sendall(b"hostname\n")
        assert silent.recv(65536) == b"web-1\n"


def test_clients_that_reset_connections_harm_nobody(serving: Serving, capfd: pytest.CaptureFixture[str]) -> None:
    texts = (b"", b"x\n", b"GET / HTTP/1.1\r\n\r\n", b"GET /bytes?size=9000000 HTTP/1.1\r\n\r\n", b"GET /ha")
    with pod() as at:
        for _ in range(5):
            serving.serve(at, WEB)
            for text in texts * 10:
                with at.connected() as sock:
                    sock.sendall(text)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with at.connected() as sock:
                sock.sendall(b"GET /bytes?size=9000000 HTTP/1.1\r\n\r\n")
                serving.standin.stop(["web"])
                until(lambda: serving.state().phase == "ended")
    serving.standin.down()
    assert capfd.readouterr().err == ""


@families
def test_datagrams_are_answered_from_the_address_that_was_asked(web: Pod, version: int) -> None:
    other = {4: "127.0.0.7", 6: "fd00::7"}[version]
    web.run("ip", "address", "replace", f"{other}/{32 if version == 4 else 128}", "dev", "lo")
    # The kernel completes an IPv6 address later.
    until(lambda: other in web.run("ip", f"-{version}", "route", "show", "table", "local"))
    until(lambda: web.run("ip", "address", "show", "tentative") == "")
    with web.connected(81, version, socket.SOCK_DGRAM) as sock, web.network.entered():
        for target in (LOOPBACK[version], other):
            with socket.socket(sock.family, socket.SOCK_DGRAM) as client:
                client.settimeout(PATIENCE_S)
                client.bind(("" if version == 4 else "::", 0))
                client.sendto(b"Echo Hello", (target, 81))
                answer, source = client.recvfrom(2048)
                assert (answer, source[:2]) == (b"hello", (target, 81))
        sock.send(b"nothing that netexec knows")
        sock.send(b"clientip")
        port = sock.getsockname()[1]
        assert sock.recv(2048).decode() == (f"127.0.0.1:{port}" if version == 4 else f"[::1]:{port}")


@pytest.mark.parametrize(
    ("query", "status", "found"),
    [
        ("host=127.0.0.1&port=80&request=hostname&tries=3", 200, {"responses": ["web-1"] * 3}),
        ("host=::1&port=80&request=/echo%3Fmsg=a%2520b&protocol=http", 200, {"responses": ["a b"]}),
        ("host=::1&port=81&request=echo%20UP&protocol=udp", 200, {"responses": ["up"]}),
        ("host=127.0.0.1&port=9&request=x", 417, {"errors": ["http 127.0.0.1:9: connection refused"]}),
        ("host=127.0.0.1&port=9&request=x&protocol=udp", 417, {"errors": ["udp 127.0.0.1:9: connection refused"]}),
    ],
)
def test_a_dial_reports_responses_and_errors(web: Pod, query: str, status: int, found: dict[str, list[str]]) -> None:
    text, _, code = web.curl(f"127.0.0.1/dial?{query}", "-w", "|%{http_code}").rpartition("|")
    assert (int(code), json.loads(text)) == (status, found)


def test_a_dial_without_answer_keeps_nobody_waiting(web: Pod) -> None:
    with mute_server(web), web.connected() as sock:
        sock.sendall(b"GET /dial?host=127.0.0.1&port=999&protocol=udp&request=hostname HTTP/1.0\r\n\r\n")
        assert web.curl("127.0.0.1/hostname") == "web-1"


def test_a_dial_without_answer_times_out(web: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial, "PATIENCE_S", 0.1)
    wanted = dial.Wanted("127.0.0.1", 999, "hostname", "udp", 2)
    with mute_server(web) as mute:
        answer = asyncio.run(dial.dialled(wanted, mute))
    assert (answer.status, json.loads(answer.body)) == (417, {"errors": ["udp 127.0.0.1:999: i/o timeout"] * 2})


@contextmanager
def mute_server(at: Pod) -> Iterator[socket.socket]:
    with at.network.entered():
        mute = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with mute:
        mute.bind(("127.0.0.1", 999))
        yield mute


# Ports


def test_a_port_that_the_kernel_cannot_serve_is_named(serving: Serving) -> None:
    with pod() as at:
        state = serving.serve(at, WEB, SCTP)
        try:
            socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
        except OSError as error:
            assert error.errno == errno.EPROTONOSUPPORT
            assert state.left_out == ("port 82/SCTP: not served, this kernel lacks SCTP",)
            dialled = at.curl("127.0.0.1/dial?host=127.0.0.1&port=82&protocol=sctp&request=hostname")
            assert json.loads(dialled) == {"errors": ["sctp 127.0.0.1:82: protocol not supported"]}
        else:
            assert state.left_out == ()
            dialled = at.curl("127.0.0.1/dial?host=127.0.0.1&port=82&protocol=sctp&request=hostname")
            assert json.loads(dialled) == {"responses": ["web-1"]}
        assert (state.phase, at.curl("127.0.0.1/hostname")) == ("serving", "web-1")


@pytest.mark.parametrize("port", [WEB, UDP], ids=str)
def test_the_second_container_that_wants_a_port_fails_with_the_reason(serving: Serving, port: Port) -> None:
    with pod() as at, pod() as elsewhere:
        serving.serve(at, port)
        sidecar = replace_facts(container="sidecar")
        state = serving.serve(at, Port(9000, "TCP"), port, id="sidecar", facts=sidecar)
        assert (state.phase, state.exit_code) == ("failed", 1)
        assert state.reason == f"{port}: address already in use by container web"
        assert at.refuses(9000)
        assert serving.serve(elsewhere, port, id="elsewhere").phase == "serving"
        # Once the first has ended, the second can have it.
        serving.standin.stop(["web"])
        until(lambda: serving.state().phase == "ended")
        assert serving.serve(at, port, id="sidecar", facts=sidecar).phase == "serving"


@families
@pytest.mark.parametrize("port", [WEB, UDP], ids=str)
def test_a_port_of_a_foreign_program_is_in_use(serving: Serving, version: int, port: Port) -> None:
    kind = socket.SOCK_STREAM if port.protocol == "TCP" else socket.SOCK_DGRAM
    with pod() as at:
        with at.network.entered():
            foreign = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, kind)
        with foreign:
            foreign.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if version == 6:
                foreign.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            foreign.bind(("" if version == 4 else "::", port.number))
            if port.protocol == "TCP":
                foreign.listen()
            assert serving.serve(at, port).reason == f"{port}: address already in use"


def replace_facts(**values: str) -> Facts:
    return FACTS._replace(**values)  # type: ignore[arg-type]


def test_ports_are_served_again_at_once_while_old_connections_are_in_time_wait(serving: Serving) -> None:
    with pod() as at:
        serving.serve(at, WEB)
        with at.connected() as sock:
            sock.sendall(b"GET /hostname HTTP/1.0\r\n\r\n")
            while sock.recv(65536):  # The server closes first.
                pass
        assert "TIME-WAIT" in at.run("ss", "-tan", "sport", "=", "80")
        serving.standin.stop(["web"])
        until(lambda: serving.state().phase == "ended")
        assert serving.serve(at, WEB).phase == "serving"


def test_a_pod_without_ipv6_is_served(serving: Serving) -> None:
    with pod() as at:
        at.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
        serving.serve(at, WEB, UDP)
        assert at.curl("127.0.0.1/clientip").startswith("127.0.0.1:")


def test_a_container_without_ports_serves_none(serving: Serving) -> None:
    with pod() as at:
        assert serving.serve(at).phase == "serving"
        assert at.run("ss", "-Htuln") == ""


def test_arguments_of_agnhost_open_ports_and_are_obeyed(serving: Serving) -> None:
    facts = replace_facts(image="registry.k8s.io/e2e-test-images/agnhost:2.45")
    command = ["/bin/bash", "-c", "/agnhost serve-hostname --tcp --http=false --port 8080"]
    with pod() as at:
        serving.serve(at, WEB, facts=facts, arguments=command)
        assert at.asked(b"", 8080) == b"web-1"
        assert at.curl("127.0.0.1/echo?msg=both") == "both"


# Readiness


def test_readiness_is_switched_by_the_kubelet(serving: Serving) -> None:
    with pod() as at:
        serving.serve(at, WEB, ready_paths=("/login", "/hostname"))
        serving.standin.set_ready("web", False)
        until(lambda: at.curl("127.0.0.1/readyz") == "not ready")
        paths = ("healthz", "readyz", "login", "hostname", "serverport")
        codes = [at.curl(f"127.0.0.1/{path}", "-o", "/dev/null", "-w", "%{http_code}") for path in paths]
        assert " ".join(codes) == "503 503 503 503 200"
        assert not serving.state().ready
        serving.standin.set_ready("web", True)
        until(lambda: at.curl("127.0.0.1/readyz") == "ok")
        assert at.curl("127.0.0.1/healthz") == "ok"
        assert at.curl("127.0.0.1/hostname") == "web-1"
        assert at.curl("127.0.0.1/login").startswith("hostname: web-1\n")
        assert serving.state().ready


def test_readiness_is_switched_by_a_client(serving: Serving) -> None:
    with pod() as at:
        serving.serve(at, WEB)
        serving.notified.clear()
        at.curl("127.0.0.1/readyz?ready=false", "-X", "POST")
        assert serving.notified.wait(PATIENCE_S)
        until(lambda: not serving.state().ready)
        assert at.curl("127.0.0.1/healthz") == "not ready"


# Ends


def test_a_stopped_container_ends_at_once_and_closes_connections_with_fin(serving: Serving) -> None:
    with pod() as at:
        serving.serve(at, WEB, UDP)
        with at.connected() as idle, at.connected() as late:
            idle.sendall(b"hostname\n")
            assert idle.recv(100) == b"web-1\n"
            late.sendall(b"GET /dial?host=127.0.0.1&port=81&protocol=udp&request=unknown HTTP/1.1\r\n\r\n")
            time.sleep(0.1)
            serving.standin.stop(["web"])
            assert (idle.recv(100), late.recv(100)) == (b"", b"")  # An RST would raise ConnectionResetError.
        until(lambda: serving.state().phase == "ended")
        assert serving.state().exit_code == 0
        assert at.refuses()
        assert at.run("ss", "-Htuln") == ""


def test_a_delayed_container_goes_on_serving_and_then_ends(serving: Serving) -> None:
    facts = replace_facts(image="agnhost")
    command = ["netexec", "--http-port=80", "--udp-port=-1", "--delay-shutdown=1"]
    with pod() as at:
        serving.serve(at, facts=facts, arguments=command)
        begin = time.monotonic()
        serving.standin.stop(["web"], grace_s=10)
        while serving.state().phase == "serving" and time.monotonic() - begin < 0.8:
            assert at.curl("127.0.0.1/hostname") == "web-1"
        until(lambda: serving.state().phase == "ended")
        assert 0.9 < time.monotonic() - begin < 5
        assert serving.state().exit_code == 0


def test_the_grace_period_bounds_the_delay(serving: Serving) -> None:
    facts = replace_facts(image="agnhost")
    with pod() as at:
        for grace_s in (0.2, 0.0):
            serving.serve(at, facts=facts, arguments=["netexec", "--http-port=80", "--delay-shutdown=60"])
            serving.standin.stop(["web"], grace_s=20)
            serving.standin.stop(["web"], grace_s=grace_s)
            until(lambda: serving.state().phase == "ended")
            assert serving.state().exit_code == KILLED


@pytest.mark.parametrize(
    ("path", "code", "answer"),
    [("shutdown", 0, b""), ("exit?code=3", 3, b""), ("exit?code=4&timeout=5s&wait=100ms", 4, b"HTTP/1.1 200 OK")],
)
def test_a_client_ends_a_container_with_an_exit_code(serving: Serving, path: str, code: int, answer: bytes) -> None:
    with pod() as at:
        serving.serve(at, WEB)
        with at.connected() as sock:
            sock.sendall(f"GET /{path} HTTP/1.1\r\n\r\n".encode())
            assert sock.recv(65536)[: len(answer) or 1] == answer
        until(lambda: serving.state().phase == "ended")
        assert serving.state().exit_code == code
        assert at.refuses()
        assert serving.serve(at, WEB).phase == "serving"  # As the kubelet restarts it.


def test_a_forgotten_container_ends_and_has_no_state(serving: Serving) -> None:
    with pod() as at:
        serving.serve(at, WEB)
        serving.standin.forget(["web", "unknown"])
        until(at.refuses)
        assert serving.standin.states() == {}


def test_the_process_keeps_no_namespace_of_an_ended_pod(serving: Serving) -> None:
    with pod() as at, pod() as other:
        serving.serve(at, WEB)
        serving.serve(other, WEB, id="other")
        at.curl("127.0.0.1/dial?host=127.0.0.1&port=80&request=hostname")
        serving.standin.stop(["web"])
        until(lambda: serving.state().phase == "ended")
        folder = f"/proc/{serving.standin.pid}"
        held = [os.readlink(f"{folder}/fd/{name}") for name in os.listdir(f"{folder}/fd")]  # noqa: PTH115, PTH208
        assert not [name for name in held if name.startswith("net:")]
        assert os.stat(f"{folder}/ns/net").st_ino == os.stat("/proc/self/ns/net").st_ino  # noqa: PTH116


# The process


def test_a_killed_process_is_started_again_and_serves_all(serving: Serving) -> None:
    with pod() as at, pod() as closed:
        serving.serve(at, WEB)
        serving.serve(closed, WEB, id="closed")
        serving.serve(at, Port(8080, "TCP"), id="unready")
        serving.serve(at, Port(8081, "TCP"), id="delayed", facts=replace_facts(image="agnhost"),
                      arguments=["netexec", "--http-port=8081", "--udp-port=-1", "--delay-shutdown=60"])  # fmt: skip
        serving.standin.set_ready("unready", False)
        serving.standin.stop(["delayed"])
        until(lambda: at.curl("127.0.0.1:8080/readyz") == "not ready")
        serving.notified.clear()
        old = serving.standin.pid
        assert old is not None
        os.kill(old, signal.SIGKILL)
        assert serving.notified.wait(PATIENCE_S)
        until(lambda: serving.standin.pid not in (old, None) and serving.state().phase == "serving")
        assert at.curl("127.0.0.1/hostname") == "web-1"
        assert closed.curl("127.0.0.1/hostname") == "web-1"
        until(lambda: serving.state("unready").phase == "serving")
        assert at.curl("127.0.0.1:8080/readyz") == "not ready"
        assert (serving.state("delayed").phase, serving.state("delayed").exit_code) == ("ended", KILLED)


def test_a_closed_network_fails_only_its_own_container(serving: Serving) -> None:
    with pod() as at:
        gone = 1_000_000
        one = Served(id="web", network=at.network.fd, facts=FACTS, ports=(WEB,))
        serving.standin.serve([one, replace(one, id="gone", network=gone), replace(one, id="last", ports=())])
        until(lambda: all(state.phase != "starting" for state in serving.standin.states().values()))
        assert [state.phase for state in serving.standin.states().values()] == ["serving", "failed", "serving"]
        assert serving.state("gone").reason == "cannot be served: bad file descriptor"


def test_too_few_descriptors_fail_a_container_with_the_reason_and_lose_no_connection(serving: Serving) -> None:
    with pod() as at:
        serving.serve(at, WEB)
        pid = serving.standin.pid
        assert pid is not None
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        used = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 3, limits[1]))
        ports = [Port(number, "TCP") for number in range(1000, 1010)]
        state = serving.serve(at, *ports, id="many")
        assert state.phase == "failed"
        assert state.reason.endswith("too many open files")
        clients = [at.connected() for _ in range(8)]
        clients[-1].sendall(b"hostname\n")
        for client in clients[:-1]:
            client.close()
        with clients[-1] as last:
            assert last.recv(100) == b"web-1\n"


def test_down_ends_the_process_and_may_be_called_twice() -> None:
    serving = Serving()
    with pod() as at:
        serving.serve(at, WEB)
        pid = serving.standin.pid
        serving.standin.down()
        serving.standin.down()
        assert serving.standin.pid is None
        serving.standin.stop(["web"])
        serving.standin.serve([])
        assert not os.path.exists(f"/proc/{pid}")  # noqa: PTH110
        assert at.refuses()


def test_the_process_ends_with_its_parent() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(command(theirs.fileno()), env=environment(), pass_fds=[theirs.fileno()])
    ours.close()
    assert process.wait(PATIENCE_S) == 0


def test_500_pods_cost_seconds_and_8_kib_each_at_most(serving: Serving) -> None:
    number, networks = 500, []
    for network in Namespace.create_many(number):
        networks.append(network)
    serving.standin.serve([Served(id="first", network=networks[0].fd, facts=FACTS, ports=(Port(81, "TCP"),))])
    until(lambda: serving.state("first").phase == "serving")
    before = _resident_kib(serving.standin.pid)
    begin = time.monotonic()
    serving.standin.serve(
        [
            Served(id=f"{place}", network=network.fd, facts=FACTS._replace(pod=f"web-{place}"), ports=(WEB,))
            for place, network in enumerate(networks)
        ]
    )
    until(lambda: all(state.phase == "serving" for state in serving.standin.states().values()))
    took_s = time.monotonic() - begin
    used_kib = (_resident_kib(serving.standin.pid) - before) / number
    serving.standin.down()
    for network in networks:
        network.close()
    assert took_s < 5, "0.03 s on an idle machine"
    assert used_kib < 8, "2 KiB as measured with 5,000"


def _resident_kib(pid: int | None) -> int:
    with open(f"/proc/{pid}/status") as status:  # noqa: PTH123
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
