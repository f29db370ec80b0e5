"""The verdict table, for the terminal (rich) and for Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from testbed.experiment.results import LAB
from testbed.report import counts, instructions, metrics, words
from testbed.report.overview import OPEN, more_rounds, overviews
from testbed.report.run import Design, Path, Run
from testbed.report.statistics import RESOLVED, Summary
from testbed.spec.scenario import AA

STYLES = {
    "faster": "green",
    "slower": "red",
    "shorter": "green",
    "longer": "red",
    "equal": "dim",
    "not resolved": "dim",
    "baseline": "bold",
}
HEADINGS = ("design", "median", "interval", "ratio", "interval", "verdict")
COMPARED_WITH = "against {}; grey: unresolved"
NO_VALUE = "no value"
WIDTHS = (17, 6, 12, 5, 12, 18)
"""Widths of the columns in the terminal, in characters; 79 with the gaps. Long names make the first column wider."""


@dataclass(frozen=True)
class Row:
    """One design in a section, as text."""

    cell: str
    """Of a sweep; empty without one."""
    design: str
    median: str
    spread: str
    ratio: str
    ratio_spread: str
    result: str
    """The verdict as text, or the state of a design without a value."""
    verdict: str
    """The bare verdict; empty without a value."""

    @property
    def cells(self) -> tuple[str, ...]:
        return self.design, self.median, self.spread, self.ratio, self.ratio_spread, self.result


@dataclass(frozen=True)
class Section:
    """One metric on one path; a row for every available design, with or without a value."""

    path: Path
    metric: str
    title: str
    """With its unit."""
    better: str
    """`higher`, `lower`, or empty if no direction is better."""
    rows: tuple[Row, ...]


def sections(run: Run, summaries: Sequence[Summary], every_metric: bool = False) -> tuple[Section, ...]:
    """The sections sorted by path, then metric; only metrics with `in_table`, or all."""
    found = []
    names = sorted({s.metric for s in summaries}, key=metrics.order)
    for path in run.paths:
        for metric in names:
            here = {(s.cell, s.design): s for s in summaries if (s.path, s.metric) == (path.name, metric)}
            if here and (every_metric or metrics.known(metric).in_table):
                title = f"{metrics.title(metric)}, {words.unit(next(iter(here.values())).unit)}"
                better = metrics.known(metric).better or ""
                # A missing value of the lab is not a failure: a lab without daemons has no convergence time.
                rows = (row for row in _rows(run, here) if row.result != NO_VALUE or path.name != LAB)
                found.append(Section(path, metric, title, better, tuple(rows)))
    return tuple(found)


def _rows(run: Run, here: Mapping[tuple[str, str], Summary]) -> Iterator[Row]:
    designs = {design.name: design for design in run.designs}
    measured = {cell for cell, _ in here}
    for cell in [cell.name for cell in run.cells if cell.name in measured] or [""]:
        for arm in run.arms:
            design, summary = designs.get(arm), here.get((cell, arm))
            # Unavailable designs are listed once, below all tables.
            if summary or design is None or not (design.state in words.LEFT_OUT_STATES or cell in design.left_out):
                yield _row(run, cell, arm, design, summary)


def _row(run: Run, cell: str, arm: str, design: Design | None, summary: Summary | None) -> Row:
    none, name = words.NOTHING, words.OWN_NOISE_SHORT if arm == AA else arm
    if summary is None:
        result = NO_VALUE if design is None or design.usable else design.state
        return Row(cell, name, none, none, none, none, result, "")
    is_baseline = summary.verdict == "baseline"
    return Row(
        cell,
        name,
        words.number(summary.median),
        none if summary.rounds < 2 else words.span(summary.ci_low, summary.ci_high),
        none if is_baseline else words.ratio(summary.ratio),
        none if is_baseline or summary.pairs < 2 else words.ratio_span(summary.ratio_low, summary.ratio_high),
        words.verdict(summary),
        summary.verdict,
    )


def terminal(run: Run, summaries: Sequence[Summary]) -> RenderableType:
    """One table per path, 80 columns wide unless designs have long names; then notes."""
    parts: list[RenderableType] = [Text(line) for line in words.events(run)]
    parts += _overviews(run, summaries)
    shown = sections(run, summaries)
    name = max(map(len, run.arms), default=0)
    for path, some in groupby(shown, key=lambda section: section.path):
        parts += [Text(path.title, style="bold"), *(part for s in some for part in (_table(s, name), Text()))]
    if not shown:
        parts.append(Text("No counted samples yet, so nothing to compare."))
    parts += [Text(note) for note in notes(run, summaries) if note]
    return Group(*parts)


def _overviews(run: Run, summaries: Sequence[Summary]) -> Iterator[RenderableType]:
    """The tables of all designs, and what more rounds would resolve."""
    for overview in overviews(run, summaries):
        yield Text(f"{overview.path.title}, {COMPARED_WITH.format(run.baseline)}", style="bold")
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True, show_edge=False)
        table.add_column(Text("design"), overflow="fold")
        for title in overview.columns:
            table.add_column(Text(title), justify="right", overflow="fold")
        if overview.has_open:
            table.add_column(Text(OPEN), overflow="fold")
        cell = ""
        for row in overview.rows:
            if row.cell != cell:
                cell = row.cell
                table.add_row(Text(cell, style="italic"))
            last = [Text(row.open.removeprefix("about "))] if overview.has_open else []
            entries = (Text(entry.text, style=STYLES.get(entry.verdict, "")) for entry in row.entries)
            table.add_row(Text(row.design), *entries, *last)
        yield table
        yield Text()
    if more := more_rounds(run, summaries):
        yield Text(more)
        yield Text()


def _table(section: Section, longest: int) -> Table:
    """A section as a table. Columns have the same widths in every section; the first fits all names.

    Names are folded if the terminal is too narrow.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True, show_edge=False)
    name = section.title
    widths = (max(WIDTHS[0], longest), *WIDTHS[1:])
    for heading, width in zip((name, *HEADINGS[1:]), widths, strict=True):
        left = heading in (name, "verdict")
        table.add_column(Text(heading), justify="left" if left else "right", overflow="fold", width=width)
    cell = ""
    for row in section.rows:
        if row.cell != cell:
            cell = row.cell
            table.add_row(Text(cell, style="italic"))
        style = STYLES.get(row.verdict, "" if row.result == "" else "yellow")
        table.add_row(*(Text(cell) for cell in row.cells[:-1]), Text(row.result, style=style))
    return table


def notes(run: Run, summaries: Sequence[Summary]) -> Iterator[str]:
    """Problems of the run, then the method."""
    if state := words.state(run):
        yield state
    yield from words.lost(run)
    yield from words.left_out(run)
    yield from words.failures(run)
    yield from words.doubts(run)
    yield from words.limits(run, summaries)
    if run.counts:
        yield from counts.correlations(run.counts, summaries)
        yield words.COUNTS
    if summaries:
        yield words.intervals(summaries)
        yield words.method(run, summaries)


def markdown(run: Run, summaries: Sequence[Summary], plots: Sequence[tuple[str, str]]) -> str:
    """The text of report.md; `plots` are the title and the file of each."""
    return "\n".join(_markdown(run, summaries, plots)) + "\n"


def _markdown(run: Run, summaries: Sequence[Summary], plots: Sequence[tuple[str, str]]) -> Iterator[str]:
    yield f"# {plain(run.name)}\n"
    facts = (run.kernel, run.machine.get("cpu", ""), f"{run.rounds} rounds", f"seed {run.seed}", run.started)
    yield plain(" · ".join(fact for fact in facts if fact)) + "\n"
    yield from (f"{plain(line)}\n" for line in words.events(run))
    yield from _markdown_overviews(run, summaries)
    path = None
    for answer in words.answers(run, summaries):
        if answer.path != path:
            path = answer.path
            yield f"\n## {plain(path.title)}\n"
        said = " ".join(sentence.text for sentence in answer.sentences)
        yield f"- **{plain(answer.title)}.** {plain(said)}"
    if not summaries:
        yield "No counted samples yet, so nothing to compare."
    if measured := [design for design in run.designs if design.usable]:
        yield "\n## Designs\n"
        yield "| design | description | pod MTU |"
        yield "| --- | --- | ---: |"
        for design in measured:
            mtu = words.NOTHING if design.pod_mtu is None else str(design.pod_mtu)
            yield f"| {plain(design.name)} | {plain(design.summary)} | {mtu} |"
    if grids := list(instructions.tables(instructions.rows(run, summaries))):
        yield "\n## Instructions\n"
        yield from (line for table in grids for line in (*_markdown_grid(table), ""))
    yield "\n## Numbers\n"
    yield from _markdown_table(sections(run, summaries))
    yield ""
    yield from (f"{plain(note)}\n" for note in notes(run, summaries) if note)
    for question, file in plots:
        yield f"![{plain(question)}]({file})\n"


def _markdown_overviews(run: Run, summaries: Sequence[Summary]) -> Iterator[str]:
    """The tables of all designs: resolved differences are bold."""
    for overview in overviews(run, summaries):
        yield f"\n**{plain(overview.path.title)}**: difference from {plain(run.baseline)}; bold if resolved.\n"
        has_cells = any(row.cell for row in overview.rows)
        headings = (
            *(["cell"] if has_cells else []),
            "design",
            *overview.columns,
            *([OPEN] if overview.has_open else []),
        )
        yield "| " + " | ".join(map(plain, headings)) + " |"
        yield "|" + " --- |" * (1 + has_cells) + " ---: |" * len(overview.columns) + " --- |" * overview.has_open
        for row in overview.rows:
            names = (*([row.cell] if has_cells else []), row.design)
            entries = (f"**{plain(e.text)}**" if e.verdict in RESOLVED else plain(e.text) for e in row.entries)
            cells = (*map(plain, names), *entries, *([row.open] if overview.has_open else []))
            yield "| " + " | ".join(cells) + " |"
    if more := more_rounds(run, summaries):
        yield f"\n{plain(more)}"


def _markdown_grid(table: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table whose first row has the headings, and whose first column has names."""
    first, *others = table
    yield f"| {' | '.join(map(plain, first))} |"
    yield "| --- |" + " ---: |" * (len(first) - 1)
    yield from (f"| {' | '.join(map(plain, row))} |" for row in others)


def _markdown_table(shown: Sequence[Section]) -> Iterator[str]:
    if not shown:
        return
    headings = ("path", "metric", *HEADINGS)
    yield "| " + " | ".join(headings) + " |"
    yield "| --- | --- | --- | ---: | ---: | ---: | ---: | --- |"
    for section in shown:
        for row in section.rows:
            cells = (section.path.name, " ".join(filter(None, (section.title, row.cell))), *row.cells)
            yield "| " + " | ".join(plain(cell) for cell in cells) + " |"


def plain(text: str) -> str:
    """The text with Markdown and HTML markup escaped."""
    line = " ".join(text.split())
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#!" else c for c in line)
