"""What a command line of the agnhost image serves, pure.

Only the subcommands that are servers for service and policy tests are known: netexec, serve-hostname and porter, with
the defaults of their help texts. Others, such as pause, serve nothing.
"""

import re
import shlex
from argparse import ArgumentError, ArgumentParser, Namespace
from collections.abc import Iterable, Mapping, Sequence

from testbed.programs.standin.model import Port

_IMAGE = re.compile(r"(.*/)?agnhost([:@].*)?")
_SERVED = re.compile(r"SERVE_(SCTP_)?PORT_([0-9]+)")
_LARGEST = 65535


def is_agnhost(image: str) -> bool:
    return _IMAGE.fullmatch(image) is not None


def ports(command: Sequence[str], environment: Mapping[str, str], host_name: str) -> tuple[Port, ...]:
    """The ports that a command (with its arguments) opens; none if it is unknown or not understood."""
    words = _words(command)
    server = _SERVERS.get(words[0]) if words else None
    found = server(words[1:], environment, host_name) if server else ()
    return tuple(port for port in found if 0 < port.number <= _LARGEST)


def delay_s(command: Sequence[str]) -> float:
    """Seconds for which `--delay-shutdown` lets a server go on when it is stopped."""
    words = _words(command)
    return max(0.0, _options(_DELAY, words[1:]).delay_shutdown) if words and words[0] in ("netexec", "nettest") else 0.0


def _words(command: Sequence[str]) -> Sequence[str]:
    """The subcommand and its options: without the executable, and without a shell around both."""
    words = list(command)
    if len(words) == 3 and words[0].rpartition("/")[2] in ("sh", "bash") and words[1] == "-c":
        try:
            words = shlex.split(words[2])
        except ValueError:
            return ()
    if words and words[0] == "exec":
        words = words[1:]
    return words[1:] if words and words[0].rpartition("/")[2] == "agnhost" else words


def _netexec(words: Sequence[str], _: Mapping[str, str], __: str) -> Iterable[Port]:
    options = _options(_NETEXEC, words)
    return Port(options.http_port, "TCP"), Port(options.udp_port, "UDP"), Port(options.sctp_port, "SCTP")


def _serve_hostname(words: Sequence[str], _: Mapping[str, str], host_name: str) -> Iterable[Port]:
    options = _options(_SERVE_HOSTNAME, words)
    if options.udp == "true":
        yield Port(options.port, "UDP", host_name)
    if options.tcp == "true":
        yield Port(options.port, "TCP", host_name, is_raw=True)
    elif options.http == "true" and options.udp != "true":
        yield Port(options.port, "TCP", host_name)


def _porter(_: Sequence[str], environment: Mapping[str, str], __: str) -> Iterable[Port]:
    for name, value in environment.items():
        if found := _SERVED.fullmatch(name):
            yield Port(int(found[2]), "SCTP" if found[1] else "TCP", value)


def _parser(**options: int | str | float) -> ArgumentParser:
    """Of options with a value, by name and default; `--name` alone is `--name=true` for those of text."""
    parser = ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    for name, default in options.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(default, str):
            parser.add_argument(flag, default=default, nargs="?", const="true")
        else:
            parser.add_argument(flag, default=default, type=type(default))
    return parser


def _options(parser: ArgumentParser, words: Sequence[str]) -> Namespace:
    try:
        return parser.parse_known_args(words)[0]
    except ArgumentError:
        return parser.parse_args([])


_NETEXEC = _parser(http_port=8080, udp_port=8081, sctp_port=-1)
_SERVE_HOSTNAME = _parser(port=9376, tcp="false", udp="false", http="true")
_DELAY = _parser(delay_shutdown=0.0)
_SERVERS = {"netexec": _netexec, "serve-hostname": _serve_hostname, "porter": _porter}
