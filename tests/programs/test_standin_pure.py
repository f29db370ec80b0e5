"""The stand-in without I/O: heads of requests, answers, text commands, durations, command lines of agnhost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.programs.standin import agnhost, dial
from testbed.programs.standin.http11 import Answer, Refused, Request, end_of_head, is_request_line, parsed, rendered
from testbed.programs.standin.model import Port
from testbed.programs.standin.netexec import duration_s
from testbed.programs.standin.networks import with_port
from testbed.programs.standin.words import answered


def request(*lines: str) -> Request:
    return parsed("\r\n".join([*lines, "", ""]).encode())


def test_a_request_has_its_path_query_and_headers() -> None:
    found = request("GET /echo%20it?msg=a+b&msg=c&empty= HTTP/1.1", "Host: x", "X-Two: 1", "x-two: 2")
    assert (found.method, found.path, found.query) == ("GET", "/echo it", {"msg": "a b", "empty": ""})
    assert found.header("x-two") == "1, 2"
    assert found.keep_alive


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("http://web:80/hostname?x=1", "/hostname"),
        ("*", "/"),
        ("//twice/a", "//twice/a"),
        ("/a/../b", "/a/../b"),
        ("/#x", "/"),
    ],
)
def test_every_form_of_target_has_a_path(line: str, path: str) -> None:
    assert request(f"GET {line} HTTP/1.1").path == path


@pytest.mark.parametrize(
    ("version", "connection", "kept"),
    [("1.1", "", True), ("1.1", "Close", False), ("1.0", "", False), ("1.0", "Keep-Alive", True)],
)
def test_a_connection_is_kept_as_the_version_and_the_client_say(version: str, connection: str, kept: bool) -> None:
    assert request(f"GET / HTTP/{version}", f"Connection: {connection}").keep_alive is kept


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["GET /"], 400),
        (["GET / HTTP/1.1", "no colon"], 400),
        (["GET / HTTP/1.1", "spa ce: x"], 400),
        (["POST / HTTP/1.1", "Content-Length: ten"], 400),
        (["POST / HTTP/1.1", "Content-Length: -1"], 400),
        (["POST / HTTP/1.1", "Content-Length: 1", "Content-Length: 2"], 400),
        (["POST / HTTP/1.1", f"Content-Length: {'9' * 5000}"], 400),
        (["POST / HTTP/1.1", "Transfer-Encoding: chunked"], 411),
        (["PRI * HTTP/2.0"], 505),
        ([f"GET /?{'a&' * 1001} HTTP/1.1"], 400),
    ],
)
def test_an_invalid_request_is_refused_with_its_status(lines: list[str], status: int) -> None:
    with pytest.raises(Refused) as refused:
        request(*lines)
    assert refused.value.answer.status == status


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    for head in (data, b"GET " + data + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n" + data + b"\r\n\r\n"):
        try:
            found = parsed(head)
        except Refused as refused:
            assert rendered(refused.answer, None).startswith(b"HTTP/1.1 ")
        else:
            assert is_request_line(head.partition(b"\n")[0])
            assert found.path.startswith("/")


@pytest.mark.parametrize(
    ("text", "end"), [(b"a\r\n\r\nb", 5), (b"a\n\nb", 3), (b"a\n\r\nb", 4), (b"a\r\nb", -1), (b"", -1)]
)
def test_a_head_ends_at_its_empty_line(text: bytes, end: int) -> None:
    assert end_of_head(text) == end


def test_an_answer_to_head_has_the_length_but_no_body() -> None:
    text = rendered(Answer(200, b"four"), request("HEAD / HTTP/1.1"))
    assert b"Content-Length: 4\r\n" in text
    assert text.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (b"hostname", b"web-1"),
        (b" HostName\r\n", b"web-1"),
        (b"clientip\n", b"10.0.0.9:5"),
        (b"echo Hi There", b"hi there"),
        (b"echo", None),
        (b"hostname please", None),
        (b"\xff\xfe", None),
        (b"", None),
    ],
)
def test_text_commands_are_answered_as_by_netexec(text: bytes, answer: bytes | None) -> None:
    assert answered(text, "web-1", "10.0.0.9:5") == answer


@pytest.mark.parametrize(
    ("address", "text"), [("::ffff:10.0.0.1", "10.0.0.1:80"), ("10.0.0.1", "10.0.0.1:80"), ("fd00::1", "[fd00::1]:80")]
)
def test_addresses_are_printed_as_go_prints_them(address: str, text: str) -> None:
    assert with_port(address, 80) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("1.5s", 1.5), ("1m30s", 90), ("200ms", 0.2), ("2h", 7200), ("5", None), ("s", None), ("1s x", None)],
)
def test_durations_are_those_of_go(text: str, seconds: float | None) -> None:
    assert duration_s(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({}, "request parameter not specified."),
        ({"request": "x", "port": "0", "host": "10.0.0.1"}, "port '0'; expected 1 to 65535"),
        ({"request": "x", "port": "80", "host": "web"}, "host 'web'; a stand-in resolves no names, give an address"),
        ({"request": "x", "port": "80", "host": "10.0.0.1", "tries": "1001"}, "expected 1 to 1000"),
        ({"request": "x", "protocol": "icmp"}, "unsupported protocol. icmp; expected http, udp or sctp"),
    ],
)
def test_a_dial_that_cannot_be_made_says_why(values: dict[str, str], reason: str) -> None:
    with pytest.raises(dial.BadDial, match=reason.replace(".", r"\.")):
        dial.wanted(values)


def test_a_dial_takes_addresses_in_brackets() -> None:
    assert dial.wanted({"request": "x", "port": "80", "host": "[FD00::0:1]"}).host == "fd00::1"


NETEXEC = (Port(8080, "TCP"), Port(8081, "UDP"))


@pytest.mark.parametrize(
    ("command", "ports"),
    [
        (["netexec"], NETEXEC),
        (["/agnhost", "netexec", "--http-port=80", "--udp-port", "-1"], (Port(80, "TCP"),)),
        (["netexec", "--http-port", "80", "--udp-port=90", "--sctp-port=38412", "--unknown=1"],
         (Port(80, "TCP"), Port(90, "UDP"), Port(38412, "SCTP"))),
        (["netexec", "--http-port=many"], NETEXEC),
        (["serve-hostname"], (Port(9376, "TCP", "web-1"),)),
        (["serve-hostname", "--port=80"], (Port(80, "TCP", "web-1"),)),
        (["/bin/bash", "-c", "/agnhost serve-hostname --tcp --http=false --port 8080"],
         (Port(8080, "TCP", "web-1", is_raw=True),)),
        (["sh", "-c", "exec /agnhost serve-hostname --udp --http=false --port 53"], (Port(53, "UDP", "web-1"),)),
        (["porter"], (Port(81, "TCP", "foo"), Port(82, "SCTP", "bar"))),
        (["pause"], ()),
        (["/bin/sh", "-c", "echo 'unbalanced"], ()),
        ([], ()),
    ],
)  # fmt: skip
def test_a_command_line_of_agnhost_opens_the_ports_that_its_help_says(command: list[str], ports: tuple[Port]) -> None:
    environment = {"SERVE_PORT_81": "foo", "SERVE_SCTP_PORT_82": "bar", "SERVE_PORT_0": "x", "HOME": "/"}
    assert agnhost.ports(command, environment, "web-1") == ports


@pytest.mark.parametrize(
    ("command", "seconds"),
    [
        (["netexec", "--delay-shutdown=10"], 10),
        (["/agnhost", "netexec", "--delay-shutdown", "3"], 3),
        (["netexec", "--delay-shutdown", "-3"], 0),
        (["netexec"], 0),
        (["pause", "--delay-shutdown=10"], 0),
    ],
)
def test_a_delay_of_the_shutdown_is_read(command: list[str], seconds: float) -> None:
    assert agnhost.delay_s(command) == seconds


@pytest.mark.parametrize(
    ("image", "is_one"),
    [
        ("registry.k8s.io/e2e-test-images/agnhost:2.45", True),
        ("agnhost", True),
        ("localhost:5000/agnhost@sha256:0", True),
        ("agnhost-like:1", False),
        ("my/agnhost/web", False),
    ],
)
def test_images_of_agnhost_are_known_by_name(image: str, is_one: bool) -> None:
    assert agnhost.is_agnhost(image) is is_one
