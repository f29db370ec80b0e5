"""HTTP/1.1 without I/O: the heads of requests parsed, answers rendered."""

import json
import re
import time
from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

LONGEST_HEAD = 64 << 10
_CACHED_HEAD = 1 << 10
"""Bytes of the longest head whose parsed request is cached: keep-alive clients repeat theirs."""
_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) (\S+) HTTP/(\d)\.(\d)\r?\n?")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
LARGEST_BODY = 1 << 40
_NUMBER = re.compile(r"[0-9]{1,15}")

TEXT, JSON = "text/plain; charset=utf-8", "application/json"


class Answer(NamedTuple):
    status: int
    body: bytes = b""
    kind: str = TEXT
    headers: tuple[tuple[str, str], ...] = ()
    zeros: int = 0
    """Bytes that follow the body: sent in blocks, since they may be many."""


class Refused(Exception):
    """The request is not valid HTTP, or asks for something that is not supported: answer, then close."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.answer = Answer(status, f"{status} {phrase(status)}: {reason}\n".encode())


class Request(NamedTuple):
    method: str
    target: str
    path: str
    query: Mapping[str, str]
    """The first value of each key."""
    headers: tuple[tuple[str, str], ...]
    version: str
    keep_alive: bool
    length: int
    """Bytes of the body."""
    expects: bool
    """Whether the client waits for `100 Continue` before it sends the body."""
    wants_json: bool

    def header(self, name: str) -> str:
        """All values of a header, separated by commas."""
        return ", ".join(value for key, value in self.headers if key.lower() == name)


def is_request_line(line: bytes) -> bool:
    return _REQUEST_LINE.fullmatch(line) is not None


def end_of_head(buffer: bytes) -> int:
    """Where the head ends, after its empty line; -1 if it is not complete."""
    end = buffer.find(b"\r\n\r\n")
    if end >= 0:
        return end + 4
    found = re.search(rb"\n\r?\n", buffer)
    return found.end() if found else -1


def parsed(head: bytes) -> Request:
    """The request with this head, which ends with an empty line. Raises Refused."""
    return _cached(head) if len(head) <= _CACHED_HEAD else _parsed(head)


def _parsed(head: bytes) -> Request:
    first, _, rest = head.partition(b"\n")
    line = _REQUEST_LINE.fullmatch(first)
    if line is None:
        raise Refused(400, "the first line is not `METHOD TARGET HTTP/1.1`")
    method, target, major, minor = (part.decode("latin-1") for part in line.groups())
    if major != "1":
        raise Refused(505, f"HTTP/{major}.{minor} is not supported, use HTTP/1.1")
    headers = tuple(map(_header, filter(None, rest.decode("latin-1").replace("\r\n", "\n").split("\n"))))
    values = {key.lower(): value for key, value in headers}
    if "transfer-encoding" in values:
        raise Refused(411, "a body needs Content-Length; Transfer-Encoding is not supported")
    connection = values.get("connection", "").lower()
    path, query = _split(target)
    return Request(
        method,
        target,
        path,
        query,
        headers,
        f"{major}.{minor}",
        "close" not in connection if minor != "0" else "keep-alive" in connection,
        _length([value for key, value in headers if key.lower() == "content-length"]),
        values.get("expect", "").lower() == "100-continue",
        JSON in values.get("accept", ""),
    )


_cached = lru_cache(maxsize=256)(_parsed)


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not _HEADER.fullmatch(name):
        raise Refused(400, "a header is not `Name: value`")
    return name, value.strip()


def _length(values: list[str]) -> int:
    if not values:
        return 0
    length = whole_number(values[0], LARGEST_BODY)
    if length is None or len(set(values)) > 1:
        raise Refused(400, f"Content-Length is not one number up to {LARGEST_BODY}")
    return length


def whole_number(text: str, most: int) -> int | None:
    """A number from 0 to `most`, in decimal digits; None if the text is none."""
    return int(text) if _NUMBER.fullmatch(text) and int(text) <= most else None


def _split(target: str) -> tuple[str, dict[str, str]]:
    """Path and query of a target in any form: a path, a whole URL, or `*`."""
    if not target.startswith("/"):
        target = "/" + target.partition("://")[2].partition("/")[2]
    path, _, query = target.partition("#")[0].partition("?")
    return unquote(path), fields(query)


def fields(text: str) -> dict[str, str]:
    """The first value of each key of a query or a form."""
    try:
        return dict(reversed(parse_qsl(text, keep_blank_values=True, max_num_fields=1000)))
    except ValueError:
        raise Refused(400, "the query has too many fields") from None


def as_json(value: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode(), JSON)


def rendered(answer: Answer, request: Request | None) -> bytes:
    """The bytes of an answer up to `zeros`. Without a request, the connection closes after it."""
    keep_alive = request is not None and request.keep_alive
    extra = "".join(f"{name}: {value}\r\n" for name, value in answer.headers)
    if not keep_alive:
        extra += "Connection: close\r\n"
    elif request and request.version == "1.0":
        extra += "Connection: keep-alive\r\n"
    head = (
        f"HTTP/1.1 {answer.status} {phrase(answer.status)}\r\nDate: {_date(int(time.time()))}\r\n"
        f"Content-Type: {answer.kind}\r\nContent-Length: {len(answer.body) + answer.zeros}\r\n{extra}\r\n"
    ).encode("latin-1", "replace")
    return head if request and request.method == "HEAD" else head + answer.body


@lru_cache(maxsize=1)
def _date(now_s: int) -> str:
    """As RFC 9110 has it, in English whatever the locale."""
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(now_s))


def phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Status"
