"""Output of `testbed designs`: lists of designs, attachments and transports, and the page of a design."""

import inspect
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from testbed.cli.choosing import chosen
from testbed.designs import ATTACHMENTS, CATALOGUE, DESIGNS, PLAIN, TRANSPORTS, Design
from testbed.designs.attachment import Attachment
from testbed.designs.attachments.cni import plugins_of
from testbed.designs.overhead import overhead
from testbed.designs.transport import Transport
from testbed.experiment.needs import missing_plugins
from testbed.kernel import features
from testbed.kernel.features import Lacking
from testbed.kernel.programs import PROGRAMS

if TYPE_CHECKING:
    from rich.table import Table

WIDE = 120
"""Columns of a terminal that shows `as in` and `needs`."""
Part = Design | Attachment | Transport


def show(design: str, as_json: bool) -> None:
    """Prints the page of a design."""
    wanted = chosen(design)
    click.echo(json.dumps(_facts(wanted), indent=2) if as_json else _page(wanted))


def list_as_json() -> None:
    """Prints all designs, attachments and transports as JSON."""
    listed = {
        "designs": [_facts(one) for one in DESIGNS.values()],
        "attachments": [_part(one) for one in ATTACHMENTS.values()],
        "transports": [_part(one) | _transport(one) for one in TRANSPORTS.values()],
    }
    click.echo(json.dumps(listed, indent=2))


def list_as_tables() -> None:
    """Prints all designs, attachments and transports, a row each; with fewer columns on a narrow terminal."""
    from rich.console import Console

    console = Console()
    is_wide = console.width >= WIDE
    made_of = {one.name: f"{one.attachment.name}+{one.transport.name}" for one in PLAIN.values()} if is_wide else {}
    console.print(_table("design", PLAIN.values(), is_wide, made_of))
    console.print()
    console.print(_table("design of a CNI", [one for name, one in DESIGNS.items() if name not in PLAIN], is_wide))
    console.print()
    console.print(_table("attachment", ATTACHMENTS.values(), is_wide))
    console.print()
    console.print(_table("transport", TRANSPORTS.values(), is_wide))
    console.print("\nBytes: overhead of each IPv4 and IPv6 packet of pods.")
    if not is_wide:
        console.print(f"`testbed designs DESIGN` prints a design's page; a terminal of {WIDE} columns shows more here.")
    if features.missing_here(("veth",)) is None:
        console.print("The features of this kernel could not be probed; `testbed doctor` says why.")


def _table(title: str, parts: Iterable[Part], is_wide: bool, made_of: Mapping[str, str] | None = None) -> "Table":
    """A row for each part."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    columns = [title, *(["made of"] if made_of else []), *(["bytes"] if title != "attachment" else [])]
    for column in columns:
        table.add_column(column, no_wrap=True)
    for column in ("what it does", "as in", "needs") if is_wide else ("what it does", "available"):
        table.add_column(column)
    for part in parts:
        own = [made_of[part.name]] if made_of else []
        size = [] if isinstance(part, Attachment) else [_bytes(part)]
        more = (", ".join(part.like), _needs(part)) if is_wide else (_briefly(part),)
        table.add_row(part.name, *own, *size, part.summary, *more)
    return table


def _briefly(part: Part) -> str:
    lacking = _lacking(part)
    if lacking is None:
        return "?"
    return f"no: {', '.join(one.name for one in lacking)}" if lacking else "yes"


def _bytes(of: Design | Transport) -> str:
    four, six = overhead(of).values()
    return str(four) if four == six else f"{four}, {six}"


def _facts(design: Design) -> dict[str, Any]:
    return _part(design) | {
        "attach": design.attachment.name,
        "transport": design.options.model_dump(mode="json", exclude_none=True),
        "mtu": design.mtu,
        "overhead": {f"ipv{family}": size for family, size in overhead(design).items()},
    }


def _part(part: Part) -> dict[str, Any]:
    return {
        "name": part.name,
        "summary": part.summary,
        "like": list(part.like),
        "needs": list(part.needs),
        "available": _here(part),
    }


def _transport(transport: Transport) -> dict[str, Any]:
    return {
        "overhead": {f"ipv{family}": size for family, size in overhead(transport).items()},
        "parameters": list(transport.parameters),
        "goes_with": [attach for attach in ATTACHMENTS if CATALOGUE.goes(attach, transport.name)],
    }


def _page(design: Design) -> str:
    """The page of a design, as text."""
    attachment, transport = design.attachment, design.transport
    asked = [f"mtu {design.mtu}"] if design.mtu else []
    options = ", ".join([*(f"{name} {getattr(design.options, name)}" for name in design.options.parameters), *asked])
    # Designs of CNIs may have an attachment or a transport of their own, which combines with no other.
    attaches = [one for one in ATTACHMENTS if transport.name in TRANSPORTS and CATALOGUE.goes(one, transport.name)]
    kinds = [one for one in TRANSPORTS if attachment.name in ATTACHMENTS and CATALOGUE.goes(attachment.name, one)]
    facts = {
        "like": ", ".join(design.like),
        "overhead": f"{_bytes(design)} bytes (IPv4, IPv6)"
        if len(set(overhead(design).values())) > 1
        else f"{_bytes(design)} bytes",
        "needs": ", ".join(features.FEATURES[name].lacking for name in design.needs),
        "programs": ", ".join(f"{name} ({PROGRAMS[name].package})" for name in design.programs),
        "plugins": ", ".join(plugins_of(design.plugins)) if design.plugins else "",
        "here": _availability(design),
        "options": options,
        f"{attachment.name} goes with": ", ".join(kinds),
        f"{transport.name} goes with": ", ".join(attaches),
    }
    width = max(map(len, facts))
    lines = [f"{key:{width}}  {value}" for key, value in facts.items() if value]
    return "\n".join(
        [
            f"{design.name}: {design.summary}",
            "",
            *lines,
            *(["", inspect.cleandoc(design.page)] if design.page else []),
            "",
            "--- How pods attach to their node",
            inspect.cleandoc(attachment.page or attachment.summary),
            "",
            "--- How nodes reach each other's pods",
            inspect.cleandoc(transport.page or transport.summary),
        ]
    )


def _needs(part: Part) -> str:
    """The required features and programs, and which of them are missing."""
    here = _availability(part)
    named = ", ".join((*part.needs, *_programs(part)))
    return {"yes": named and f"{named}: available", "?": named}.get(here, f"not available: {here}")


def _programs(part: Part) -> tuple[str, ...]:
    return part.programs if isinstance(part, Design) else ()


def _availability(part: Part) -> str:
    lacking = _lacking(part)
    if lacking is None:
        return "?"
    return features.needs(lacking) if lacking else "yes"


def _here(part: Part) -> bool | None:
    """Whether this machine has everything required; None if that cannot be probed."""
    lacking = _lacking(part)
    return None if lacking is None else not lacking


def _lacking(part: Part) -> tuple[Lacking, ...] | None:
    """What this machine lacks for a part; None if features cannot be probed and nothing else is missing."""
    found = features.absent_here(part.needs, _programs(part))
    if isinstance(part, Design) and part.plugins and (plugins := missing_plugins(part.plugins)):
        return (*(found or ()), *plugins)
    return found
