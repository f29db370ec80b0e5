"""testbed capture"""

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from testbed.cli.errors import WrongInput
from testbed.cli.labs import complete_place, lab_errors, lab_option, the_lab
from testbed.cli.output import failure, failure_of_stdout, in_terminal
from testbed.lab.living import LivingLab, UnknownPlace
from testbed.spec.nearest import unknown

if TYPE_CHECKING:
    from testbed.observe.capture import Captured, Sink, Target
    from testbed.observe.filters import TunnelHeaders


@click.command(epilog="Example: testbed capture client:eth0 node1:flannel.1 icmp -w walk.pcapng")
@lab_option
@click.argument("words", nargs=-1, required=True, metavar="TARGET[:IFACE]... [FILTER]", shell_complete=complete_place)
@click.option(
    "-w", "file", type=click.Path(path_type=Path), metavar="FILE", help="Write pcapng to FILE; - is standard output."
)
@click.option("--text", is_flag=True, help="Print text lines, even if the output is not a terminal.")
@click.option("--count", type=click.IntRange(1), metavar="N", help="Stop after N packets.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), metavar="S", help="Stop after S seconds.")
def capture(
    name: str | None,
    words: tuple[str, ...],
    file: Path | None,
    text: bool,
    count: int | None,
    seconds: float | None,
) -> None:
    """Record packets in pods, on nodes and on the fabric, until Ctrl-C.

    The first words that name places are the targets, each with one device or all; the rest is a tcpdump filter, which
    also finds packets inside the design's tunnels, except encrypted ones. In a terminal, each packet is a line as
    printed by tcpdump. A file or a pipe gets the packets in pcapng, each with its device and the kernel's timestamp:
    `testbed capture node1 | wireshark -k -i -`.
    """
    from testbed.kernel import programs
    from testbed.observe.capture import UnknownDevice, devices
    from testbed.observe.capture import capture as catch
    from testbed.observe.filters import tunnels_of

    if text and file:
        raise click.UsageError("--text and -w exclude each other: lines go to the output, packets into a file")
    programs.need("tcpdump")
    lab = the_lab(name)
    with lab_errors():
        tunnels = tunnels_of(lab.plan)
        targets, expression = _parsed(words, tuple(lab.facts["places"]), tunnels)
        try:
            lab.inside(lambda namespaces: devices(namespaces, targets))
        except UnknownDevice as error:
            raise WrongInput(f"{error.place}: {unknown('device', error.device, error.devices)}") from None
        path = Path("-") if file is None else file
        with _opened(path) as opened:
            sink = _sink(opened, path, text or (file is None and opened.isatty()), lab)
            # SIGTERM ends it as Ctrl-C does, so the file is complete.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            try:
                with closing(sink):
                    captured = lab.inside(
                        lambda namespaces: catch(
                            namespaces,
                            targets,
                            expression,
                            sink,
                            count,
                            seconds,
                            lambda: _print_start(targets),
                            tunnels,
                        )
                    )
            except OSError as error:
                raise (failure_of_stdout(error) if path == Path("-") else failure(str(path), error)) from None
    click.echo(_summary(captured, f" in {path}" if path != Path("-") else ""), err=True)


def _parsed(
    words: Sequence[str], places: tuple[str, ...], tunnels: "Sequence[TunnelHeaders]"
) -> "tuple[list[Target], str]":
    """The targets and the filter. Raises UnknownPlace, or WrongInput for a bad filter."""
    from testbed.observe.capture import Target
    from testbed.observe.filters import BadFilter, looking_inside
    from testbed.spec.nearest import nearest

    targets: list[Target] = []
    for word in words:
        target = Target.of(word)
        if target.place not in places:
            break
        targets.append(target)
    if not targets:
        raise UnknownPlace(Target.of(words[0]).place, places)
    rest = words[len(targets) :]
    expression = " ".join(rest)
    try:
        looking_inside(expression, True, tunnels)
    except BadFilter as error:
        near = nearest(Target.of(rest[0]).place, places)
        hint = f"; did you mean the place '{near}'?" if near else ""
        raise WrongInput(f"'{expression}' is not a valid filter: {error} (man pcap-filter){hint}") from None
    return targets, expression


def _sink(file: IO[bytes], path: Path, text: bool, lab: LivingLab) -> "Sink":
    from testbed.observe.capture import Lines, PcapngFile

    if text:
        return Lines(file, in_terminal)
    if file.isatty():
        raise click.UsageError("-w - does not write packets to a terminal: pipe it to a program, or omit -w")
    return PcapngFile(file, f"lab {lab.name}: topology {lab.facts['topology']}, design {lab.facts['design']}")


def _opened(path: Path) -> IO[bytes]:
    if path == Path("-"):
        return os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    try:
        file = path.open("xb")
    except FileExistsError:
        raise WrongInput(f"{path} exists already, and is not overwritten") from None
    except OSError as error:
        raise WrongInput(f"{path} cannot be written: {error.strerror}") from None
    from testbed.experiment.owner import give_to_caller

    give_to_caller(path)
    return file


def _print_start(targets: "Sequence[Target]") -> None:
    click.echo(f"recording {', '.join(map(str, targets))}; Ctrl-C stops", err=True)


def _summary(captured: "Captured", where: str) -> str:
    lost = f"; {captured.dropped} more lost: they arrived too fast" if captured.dropped else ""
    return f"{captured.packets} packet{'' if captured.packets == 1 else 's'}{where}{lost}"
