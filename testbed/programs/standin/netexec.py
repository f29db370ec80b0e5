"""The paths of agnhost's netexec, and a few more. What would run or store something on this machine is refused.

Facts: the README and the help text of agnhost in the Kubernetes repository.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple, cast

from testbed.programs.standin import dial
from testbed.programs.standin.container import Container
from testbed.programs.standin.http11 import LARGEST_BODY, TEXT, Answer, Request, as_json, fields, whole_number
from testbed.programs.standin.model import Port
from testbed.programs.standin.networks import with_port

_HIGHEST_CODE = 127
_FORM = "application/x-www-form-urlencoded"
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?)(ns|us|µs|ms|s|m|h)")
_NOT_READY = Answer(503, b"not ready")
Later = Callable[[], Awaitable[Answer | None]]
"""An answer that takes time; None closes the connection without one."""
Result = Answer | Later


class Asked(NamedTuple):
    """A request, and where it arrived."""

    container: Container
    port: Port
    sock: socket.socket
    client: str
    """Address and port."""
    request: Request
    body: bytes
    """Its beginning, if it is long."""

    def value(self, name: str, otherwise: str = "") -> str:
        """A value of the query or of a form in the body; `otherwise` if it is missing or empty."""
        if found := self.request.query.get(name):
            return found
        if self.body and self.request.header("content-type").startswith(_FORM):
            return fields(self.body.decode("latin-1")).get(name) or otherwise
        return otherwise


def answered(asked: Asked) -> Result:
    """The answer to a request, or how to get it if it takes time."""
    if asked.port.fixed is not None:
        return Answer(200, asked.port.fixed.encode())
    path = asked.request.path
    if path in asked.container.ready_paths and not asked.container.ready:
        return _NOT_READY
    return _PATHS.get(path, _page)(asked)


def _page(asked: Asked) -> Answer:
    facts, request = asked.container.facts, asked.request
    lines = {
        "hostname": facts.host_name,
        "pod": facts.pod,
        "namespace": facts.namespace,
        "node": facts.node,
        "container": facts.container,
        "image": facts.image,
        "addresses": list(facts.addresses),
        "server": with_port(*asked.sock.getsockname()[:2]),
        "client": asked.client,
        "method": request.method,
        "path": request.target,
        "protocol": f"HTTP/{request.version}",
        "headers": dict(request.headers),
    }
    if request.wants_json:
        return as_json(lines)
    lines["addresses"] = " ".join(facts.addresses)
    del lines["headers"]
    text = "".join([f"{key}: {value}\n" for key, value in lines.items()])
    text += "headers:\n" + "".join([f"  {name}: {value}\n" for name, value in request.headers])
    return Answer(200, text.encode())


def _host_name(asked: Asked) -> Answer:
    return Answer(200, asked.container.facts.host_name.encode())


def _client(asked: Asked) -> Answer:
    return Answer(200, asked.client.encode())


def _server_port(asked: Asked) -> Answer:
    return Answer(200, str(asked.port.number).encode())


def _echo(asked: Asked) -> Answer:
    code = asked.value("code")
    body = asked.value("msg").encode()
    if not code:
        return Answer(200, body)
    if not re.fullmatch(r"[2-5][0-9]{2}", code):
        return Answer(200, f"argument 'code' must be an integer or empty, got {code!r}\n".encode())
    return Answer(int(code), body)


def _header(asked: Asked) -> Answer:
    if key := asked.value("key"):
        return Answer(200, asked.request.header(key.lower()).encode())
    found: dict[str, list[str]] = {}
    for name, value in asked.request.headers:
        found.setdefault(name.title(), []).append(value)
    return as_json(found)


def _ready(asked: Asked) -> Answer:
    container = asked.container
    wanted = asked.value("ready")
    if asked.request.method in ("POST", "PUT") and wanted in ("true", "false"):
        container.set_ready(wanted == "true")
        return Answer(200, b"ok")
    return Answer(200, b"ok") if container.ready else _NOT_READY


def _redirect(asked: Asked) -> Answer:
    code = asked.value("code", "302")
    if not re.fullmatch(r"3[0-9]{2}", code):
        return Answer(200, f"argument 'code' must be an integer of a redirect (3xx), got {code!r}\n".encode())
    where = re.sub(r"[\x00-\x20\x7f]", "", asked.value("location", "/"))
    return Answer(int(code), b"", TEXT, (("Location", where),))


def _bytes(asked: Asked) -> Answer:
    text = asked.value("size")
    size = whole_number(text, LARGEST_BODY)
    if size is None:
        return Answer(400, f"argument 'size' must be a number of bytes up to {LARGEST_BODY}, got {text!r}\n".encode())
    return Answer(200, b"", "application/octet-stream", (), size)


def _refuse_shell(asked: Asked) -> Answer:
    reason = "a stand-in executes nothing; run the container with --host-images, or use `testbed exec`"
    return as_json({"error": reason}, 403)


def _refuse_upload(asked: Asked) -> Answer:
    reason = f"a stand-in stores nothing; {asked.request.length} bytes were discarded"
    return as_json({"error": reason}, 403)


def _shutdown(asked: Asked) -> Result:
    return partial(_exiting, asked, code=0, timeout=0.0, wait=0.0)


def _exit(asked: Asked) -> Result:
    code = whole_number(asked.value("code", "0"), _HIGHEST_CODE)
    if code is None:
        text = f"argument 'code' must be an integer [0-127] or empty, got {asked.value('code')!r}\n"
        return Answer(200, text.encode())
    durations = {}
    for name in ("timeout", "wait"):
        text = asked.value(name)
        seconds = duration_s(text) if text else 0.0
        if seconds is None:
            wrong = f"argument '{name}' must be a valid golang duration or empty, got {text!r}\n"
            return Answer(200, wrong.encode())
        durations[name] = seconds
    return partial(_exiting, asked, code, **durations)


async def _exiting(asked: Asked, code: int, timeout: float, wait: float) -> Answer | None:
    """With a timeout, this request is still answered; without, the connection just closes, as by exit(2)."""
    await asyncio.sleep(wait)
    if not timeout:
        asked.container.end(code)
        return None
    asyncio.get_running_loop().call_soon(asked.container.end, code)
    return Answer(200)


def duration_s(text: str) -> float | None:
    """Seconds of a duration as Go writes it, such as 1m30s; None if it is none."""
    if text == "0":
        return 0.0
    parts = cast("list[tuple[str, str]]", _DURATION.findall(text))
    if not parts or "".join(map("".join, parts)) != text:
        return None
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


def _dial(asked: Asked) -> Result:
    try:
        wanted = dial.wanted(asked.request.query)
    except dial.BadDial as error:
        return Answer(400, f"{error}\n".encode())
    return partial(dial.dialled, wanted, asked.container.sockets[0])


_PATHS: dict[str, Callable[[Asked], Result]] = {
    "/hostname": _host_name,
    "/hostName": _host_name,
    "/clientip": _client,
    "/serverport": _server_port,
    "/echo": _echo,
    "/header": _header,
    "/healthz": _ready,
    "/readyz": _ready,
    "/redirect": _redirect,
    "/bytes": _bytes,
    "/dial": _dial,
    "/exit": _exit,
    "/shutdown": _shutdown,
    "/shell": _refuse_shell,
    "/upload": _refuse_upload,
}
"""All other paths answer with the page."""
