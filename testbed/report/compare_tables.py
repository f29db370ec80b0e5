"""A comparison of two runs as a table, for the terminal (rich) and for Markdown."""

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
from testbed.report.statistics import RESOLVED
from testbed.report.tables import STYLES, plain
from testbed.spec.scenario import AA

HEADINGS = ("design", "OLD", "NEW", "NEW/OLD", "interval", "verdict")
WIDTHS = (18, 7, 7, 7, 12, 19)
"""Widths of the columns in the terminal, in characters; 80 with the gaps. Longer text is folded."""
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
    """The sections in the order of the comparisons; only metrics with `in_table`."""
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
    return c.design, number(c.old), number(c.new), words.ratio(c.ratio), interval, verdict(c)


def verdict(c: Comparison) -> str:
    """The verdict; `not resolved` is followed by the smallest detectable difference."""
    if c.verdict == "not resolved" and min(c.rounds_old, c.rounds_new) < MIN_ROUNDS_FOR_VERDICT:
        return "too few rounds"
    if c.verdict == "not resolved" and c.smallest is not None and c.smallest < words.LARGEST_NAMED:
        return f"{c.verdict} <{words.size(c.smallest)}"
    return c.verdict + (words.OTHER_MARK if c.family == "other" and c.verdict in ("faster", "slower") else "")


def terminal(compared: Compared, outcomes: Sequence[Outcome] = ()) -> RenderableType:
    """The two runs, one table per path of at most 80 columns, notes, and the results of the conditions."""
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
        *cells, text = _cells(c, relative)
        table.add_row(*map(Text, cells), Text(text, style=STYLES.get(c.verdict, "")))
    return table


def _heads(compared: Compared) -> Iterator[str]:
    for name, run in (("OLD", compared.old), ("NEW", compared.new)):
        facts = (run.folder, run.kernel, run.machine.get("cpu", ""), f"{run.rounds} rounds", run.started)
        yield f"{name}  {' · '.join(fact for fact in facts if fact)}"


def _differing(compared: Compared) -> Iterator[str]:
    """Differences between the runs besides the numbers."""
    for difference in compared.differences:
        yield f"     {difference}"
    for name, only in (("OLD", compared.only_old), ("NEW", compared.only_new)):
        for part in only:
            yield f"     only {name} has {part}"


def notes(compared: Compared) -> Iterator[str]:
    """Notes that are needed to read the numbers."""
    runs: dict[str, list[str]] = {}
    for name, run in (("OLD", compared.old), ("NEW", compared.new)):
        for note in _of_run(run):
            runs.setdefault(note, []).append(name)
    yield from (f"{' and '.join(names)}: {note}" for note, names in runs.items())
    if compared.is_exact:
        yield words.counts()
        return
    few = min((min(c.rounds_old, c.rounds_new) for c in compared.comparisons), default=0)
    if few < MIN_ROUNDS_FOR_VERDICT:
        yield (
            f"Some comparisons have only {few} round{'s' if few > 1 else ''}: a verdict needs {MIN_ROUNDS_FOR_VERDICT} "
            "per run, and intervals of fewer have a confidence below 95%."
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
    if AA not in run.arms and not run.is_exact:
        yield "the baseline was not measured twice (A/A), so the machine's own noise is unknown."


def _frame(compared: Compared) -> str:
    """What the ratios compare, and what may affect them besides the designs."""
    baseline = compared.old.baseline
    if compared.relative:
        return (
            f"OLD and NEW are ratios to {baseline} in the same round of the same run, so effects common to all designs "
            "cancel out."
        )
    other = [d.what for d in compared.differences if d.what in MACHINE]
    moved = [c for c in compared.comparisons if c.design == baseline and c.verdict in RESOLVED]
    if other:
        return (
            f"The machines differ ({words.listed(other)}), which affects every ratio; use --relative to compare each "
            f"design's ratio to {baseline or 'the baseline'}."
        )
    if moved:
        return (
            f"The baseline {baseline} itself differs in {len(moved)} comparison{'s' if len(moved) > 1 else ''}; "
            "use --relative to cancel effects common to all designs."
        )
    return (
        "Other changes on the machine between the two runs affect the ratios too; use --relative to cancel effects "
        "common to all designs."
    )


def _method(compared: Compared) -> str:
    return " ".join(
        (
            "95% bootstrap intervals over each run's own rounds. A verdict requires an interval that excludes 1, a "
            "significant Welch's t test on logs, and a difference larger than the noise of both machines (A/A).",
            *words.families(compared.comparisons),
        )
    )


def _outcome(outcome: Outcome) -> Iterator[str]:
    """A condition with its result, then one line for each comparison beyond its threshold."""
    about = f"{outcome.compared} comparison{'s' if outcome.compared > 1 else ''}"
    result = {
        "kept": f"kept in all of {about}" if outcome.compared > 1 else "kept",
        "not resolved": f"beyond the threshold in {len(outcome.not_resolved)} of {about}, not resolved",
        "breached": f"breached in {len(outcome.breached)} of {about}",
    }
    yield f"{outcome.text}: {result[outcome.state]}"
    for kind, some in (("breached", outcome.breached), ("not resolved", outcome.not_resolved)):
        for c in some:
            where = " ".join(filter(None, (c.cell, c.design, c.path, c.metric)))
            span = words.ratio_span(c.ratio_low, c.ratio_high)
            yield f"  {kind}: {where} {words.ratio(c.ratio)} ({span}), {verdict(c)}"


def markdown(compared: Compared, outcomes: Sequence[Outcome] = ()) -> str:
    """The comparison as Markdown, for a pull request."""
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
            *cells, text = map(plain, _cells(c, compared.relative))
            title = " ".join(filter(None, (section.title, c.cell)))
            strong = f"**{text}**" if c.verdict in RESOLVED else text
            yield f"| {' | '.join((plain(c.path), plain(title), *cells, strong))} |"
    yield ""
    yield from (f"- {plain(line.strip())}" for line in (*_heads(compared), *_differing(compared)))
    yield ""
    yield from (f"{plain(note)}\n" for note in notes(compared))
