"""A comparison of two runs as a table: for the terminal with rich, and the same for Markdown."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from testbed.report import metrics, words
from testbed.report.breaches import Outcome
from testbed.report.compare import Compared, Comparison
from testbed.report.differences import MACHINE
from testbed.report.paired import MIN_ROUNDS_FOR_VERDICT
from testbed.report.run import Run
from testbed.report.tables import STYLES, plain
from testbed.spec.scenario import AA

HEADINGS = ("design", "OLD", "NEW", "NEW/OLD", "interval", "verdict")
WIDTHS = (18, 7, 7, 7, 12, 19)
"""Of the columns in the terminal, in characters; with the gaps between them 80. What is longer is folded."""
OUTCOME_STYLES = {"kept": "green", "not resolved": "yellow", "breached": "red"}


@dataclass(frozen=True)
class Section:
    """One metric on one path."""

    path: str
    """Its title."""
    title: str
    """The metric's, with its unit."""
    rows: tuple[Comparison, ...]


def sections(compared: Compared) -> tuple[Section, ...]:
    """In the order of the comparisons; only the metrics that belong at the head of a report."""
    shown = [c for c in compared.comparisons if metrics.known(c.metric).in_table]
    titles = {path.name: path.title for run in (compared.new, compared.old) for path in run.paths}
    return tuple(
        Section(titles[path], _title(compared, metric, unit), tuple(rows))
        for (path, metric, unit), rows in groupby(shown, key=lambda c: (c.path, c.metric, c.unit))
    )


def _title(compared: Compared, metric: str, unit: str) -> str:
    return f"{metrics.title(metric)}, {'ratio' if compared.relative else words.unit(unit)}"


def _cells(c: Comparison, relative: bool) -> tuple[str, ...]:
    number = words.ratio if relative else words.number
    interval = words.ratio_span(c.ratio_low, c.ratio_high)
    return c.design, number(c.old), number(c.new), words.ratio(c.ratio), interval, told(c)


def told(c: Comparison) -> str:
    """The verdict; one that is not resolved with the smallest difference that would have been seen."""
    if c.verdict == "not resolved" and c.smallest is not None:
        return f"{c.verdict} <{words.size(c.smallest)}"
    return c.verdict


def terminal(compared: Compared, outcomes: Sequence[Outcome] = ()) -> RenderableType:
    """The two runs, a table a path, 80 columns wide at most; then what is to be known with it, and the conditions."""
    parts: list[RenderableType] = [Text(line) for line in _heads(compared)]
    parts += [Text(line) for line in _differing(compared)]
    parts.append(Text())
    for path, some in groupby(sections(compared), key=lambda section: section.path):
        parts.append(Text(path, style="bold"))
        parts += [part for section in some for part in (_table(section, compared.relative), Text())]
    parts += [Text(note) for note in notes(compared)]
    parts += [Text(line, style=OUTCOME_STYLES[outcome.state]) for outcome in outcomes for line in _outcome(outcome)]
    return Group(*parts)


def _table(section: Section, relative: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True, show_edge=False)
    for heading, width in zip((section.title, *HEADINGS[1:]), WIDTHS, strict=True):
        left = heading in (section.title, "verdict")
        table.add_column(Text(heading), justify="left" if left else "right", overflow="fold", width=width)
    cell = ""
    for c in section.rows:
        if c.cell != cell:
            cell = c.cell
            table.add_row(Text(cell, style="italic"))
        *cells, verdict = _cells(c, relative)
        table.add_row(*map(Text, cells), Text(verdict, style=STYLES.get(c.verdict, "")))
    return table


def _heads(compared: Compared) -> Iterator[str]:
    for name, run in (("OLD", compared.old), ("NEW", compared.new)):
        facts = (run.folder, run.kernel, run.machine.get("cpu", ""), f"{run.rounds} rounds", run.started)
        yield f"{name}  {' · '.join(fact for fact in facts if fact)}"


def _differing(compared: Compared) -> Iterator[str]:
    """What else than the numbers differs between the runs."""
    for difference in compared.differences:
        yield f"     {difference}"
    for name, only in (("OLD", compared.only_old), ("NEW", compared.only_new)):
        for part in only:
            yield f"     only {name} has {part}"


def notes(compared: Compared) -> Iterator[str]:
    """What a reader of the numbers must know."""
    told: dict[str, list[str]] = {}
    for name, run in (("OLD", compared.old), ("NEW", compared.new)):
        for note in _of_run(run):
            told.setdefault(note, []).append(name)
    yield from (f"{' and '.join(names)}: {note}" for note, names in told.items())
    few = min((min(c.rounds_old, c.rounds_new) for c in compared.comparisons), default=0)
    if few < MIN_ROUNDS_FOR_VERDICT:
        yield (
            f"Some comparisons rest on {few} round{'s' if few > 1 else ''}: a verdict needs {MIN_ROUNDS_FOR_VERDICT} "
            "of each run, and the intervals of fewer hold less than 95%."
        )
    yield _frame(compared)
    yield _method(compared)


def _of_run(run: Run) -> Iterator[str]:
    if state := words.state(run):
        yield state
    yield from words.lost(run)
    yield from words.left_out(run)
    yield from words.failures(run)
    yield from words.doubts(run)
    if AA not in run.arms:
        yield "no A/A arm, so nothing says what the machine takes for a difference where there is none."


def _frame(compared: Compared) -> str:
    """What the ratios are of, and what else than the designs may be in them."""
    baseline = compared.old.baseline
    if compared.relative:
        return (
            f"OLD and NEW are ratios to {baseline} in the same round of the same run, so what hits all designs alike "
            "cancels."
        )
    other = [d.what for d in compared.differences if d.what in MACHINE]
    moved = [c for c in compared.comparisons if c.design == baseline and c.verdict in ("faster", "slower")]
    if other:
        return (
            f"These are different machines ({words.listed(other)}), and that is in every ratio; --relative compares "
            f"each design's ratio to {baseline or 'the baseline'} instead."
        )
    if moved:
        return (
            f"The baseline {baseline} itself differs in {len(moved)} comparison{'s' if len(moved) > 1 else ''}; "
            "--relative takes out what hits all designs alike."
        )
    return (
        "Two runs are two occasions: what else had changed on the machine between them is in the ratios too; "
        "--relative takes out what hits all designs alike."
    )


def _method(compared: Compared) -> str:
    made = sum(c.p_value is not None for c in compared.comparisons)
    return (
        "Intervals are of 95%, by bootstrap over each run's own rounds. A verdict needs an interval without 1, Welch's "
        "t test on logs, and more than the A/A arms showed; by Holm's correction the probability of even one false "
        f"verdict among the {made} tested is at most 5%."
    )


def _outcome(outcome: Outcome) -> Iterator[str]:
    """A condition and what became of it, a line each comparison beyond it."""
    about = f"{outcome.compared} comparison{'s' if outcome.compared > 1 else ''}"
    said = {
        "kept": f"kept in all of {about}" if outcome.compared > 1 else "kept",
        "not resolved": f"beyond it in {len(outcome.not_resolved)} of {about}, but not resolved",
        "breached": f"breached in {len(outcome.breached)} of {about}",
    }
    yield f"{outcome.text}: {said[outcome.state]}"
    for kind, some in (("breached", outcome.breached), ("not resolved", outcome.not_resolved)):
        for c in some:
            where = " ".join(filter(None, (c.cell, c.design, c.path, c.metric)))
            yield f"  {kind}: {where} {words.ratio(c.ratio)} ({words.ratio_span(c.ratio_low, c.ratio_high)}), {told(c)}"


def markdown(compared: Compared, outcomes: Sequence[Outcome] = ()) -> str:
    """For a pull request."""
    return "\n".join(_markdown(compared, outcomes)) + "\n"


def _markdown(compared: Compared, outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield f"### {plain(compared.old.folder)} → {plain(compared.new.folder)}\n"
    for outcome in outcomes:
        first, *rest = _outcome(outcome)
        yield f"- **{plain(first)}**"
        yield from (f"  - {plain(line)}" for line in rest)
    if outcomes:
        yield ""
    yield "| path | metric | " + " | ".join(HEADINGS) + " |"
    yield "| --- | --- | --- | ---: | ---: | ---: | ---: | --- |"
    for section in sections(compared):
        for c in section.rows:
            *cells, verdict = map(plain, _cells(c, compared.relative))
            title = " ".join(filter(None, (section.title, c.cell)))
            strong = f"**{verdict}**" if c.verdict in ("faster", "slower") else verdict
            yield f"| {' | '.join((plain(c.path), plain(title), *cells, strong))} |"
    yield ""
    yield from (f"- {plain(line.strip())}" for line in (*_heads(compared), *_differing(compared)))
    yield ""
    yield from (f"{plain(note)}\n" for note in notes(compared))
