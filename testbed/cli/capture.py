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
from testbed.cli.labs import complete_place, of_lab, the_lab, understood
from testbed.lab.living import LivingLab, UnknownPlace
from testbed.spec.nearest import unknown

if TYPE_CHECKING:
    from testbed.observe.capture import Captured, Sink, Target


@click.command(epilog="Example: testbed capture client:eth0 node1:flannel.1 icmp -w walk.pcapng")
@of_lab
@click.argument("words", nargs=-1, required=True, metavar="TARGET[:IFACE]... [FILTER]", shell_complete=complete_place)
@click.option(
    "-w", "file", type=click.Path(path_type=Path), metavar="FILE", help="Write pcapng there; - is the output."
)
@click.option("--text", is_flag=True, help="Lines to read, even if they do not go to a terminal.")
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after N packets.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), metavar="S", help="End after S seconds.")
def capture(
    name: str | None,
    words: tuple[str, ...],
    file: Path | None,
    text: bool,
    count: int | None,
    seconds: float | None,
) -> None:
    """Record packets in pods, on nodes and on the fabric, until Ctrl-C.

    The first words that are places, each with a device or with all of its devices, are the targets; the others are a
    filter as tcpdump has it. In a terminal each packet is a line of tcpdump's. Into a file or a pipe go the packets
    themselves, in pcapng, each with its device and the kernel's time: `testbed capture node1 | wireshark -k -i -`.
    """
    from testbed.kernel import programs
    from testbed.observe.capture import UnknownDevice, devices
    from testbed.observe.capture import capture as catch

    if text and file:
        raise click.UsageError("lines go to the output, packets into a file: --text and -w exclude each other")
    programs.need("tcpdump")
    lab = the_lab(name)
    with understood():
        targets, expression = _understood(words, tuple(lab.facts["places"]))
        try:
            lab.inside(lambda namespaces: devices(namespaces, targets))
        except UnknownDevice as error:
            raise WrongInput(unknown(f"device on {error.place}", error.device, error.devices)) from None
        path = Path("-") if file is None else file
        with _opened(path) as opened:
            sink = _sink(opened, path, text or (file is None and opened.isatty()), lab)
            # `kill` ends it as Ctrl-C does, so that what was recorded until then is all there.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            try:
                with closing(sink):
                    captured = lab.inside(
                        lambda namespaces: catch(
                            namespaces, targets, expression, sink, count, seconds, lambda: _say_begun(targets)
                        )
                    )
            except OSError as error:
                click.echo(f"testbed: {path} could not be written: {error.strerror}", err=True)
                sys.exit(1)
    click.echo(_sum(captured, f" in {path}" if path != Path("-") else ""), err=True)


def _understood(words: Sequence[str], places: tuple[str, ...]) -> "tuple[list[Target], str]":
    """The targets and the filter."""
    from testbed.observe.capture import BadFilter, Target, compiled
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
        compiled(expression)
    except BadFilter as error:
        near = nearest(Target.of(rest[0]).place, places)
        hint = f"; did you mean the place '{near}'?" if near else ""
        raise WrongInput(f"'{expression}' is no filter: {error} (man pcap-filter){hint}") from None
    return targets, expression


def _sink(file: IO[bytes], path: Path, text: bool, lab: LivingLab) -> "Sink":
    from testbed.observe.capture import Lines, PcapngFile

    if text:
        return Lines(file)
    if file.isatty():
        raise click.UsageError("packets are nothing for a terminal: leave -w - away, or pipe them to a program")
    return PcapngFile(file, f"lab {lab.name}: topology {lab.facts['topology']}, design {lab.facts['design']}")


def _opened(path: Path) -> IO[bytes]:
    if path == Path("-"):
        return os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    try:
        file = path.open("xb")
    except FileExistsError:
        raise WrongInput(f"{path} is there already, and is not overwritten") from None
    except OSError as error:
        raise WrongInput(f"{path} cannot be written: {error.strerror}") from None
    from testbed.experiment.owner import give_to_caller

    give_to_caller(path)
    return file


def _say_begun(targets: "Sequence[Target]") -> None:
    click.echo(f"recording {', '.join(map(str, targets))}; Ctrl-C ends it", err=True)


def _sum(captured: "Captured", where: str) -> str:
    lost = f"; {captured.dropped} more were lost, as they came too fast" if captured.dropped else ""
    return f"{captured.packets} packet{'' if captured.packets == 1 else 's'}{where}{lost}"
