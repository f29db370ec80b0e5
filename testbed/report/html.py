"""report.html: one self-contained file, without network access or scripts."""

import re
from collections.abc import Sequence
from itertools import groupby
from typing import TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from testbed.experiment.results import Histogram
from testbed.report import metrics, words
from testbed.report.overview import OPEN, more_rounds, overviews
from testbed.report.run import Run
from testbed.report.statistics import MIN_ROUNDS_FOR_VERDICT, Summary
from testbed.report.tables import HEADINGS, Section, sections

T = TypeVar("T", words.Answer, Section)

MAX_SVG_BYTES = 600_000
"""A larger plot is embedded as PNG."""

PAGE_COLOURS = {
    "#1f2328": "var(--ink)",
    "#6e7781": "var(--faint)",
    "#d8dee4": "var(--line)",
    "#ffffff": "var(--paper)",
}
"""The plots' colours for ink, faint ink, grid and paper, and the page's variables for light and dark."""


def render(run: Run, summaries: Sequence[Summary], pooled: Sequence[Histogram], plots: Sequence[Markup]) -> str:
    """The page; `plots` are HTML from `inlined` or `embedded`."""
    page = _environment().get_template("report.html")
    return page.render(
        run=run,
        overviews=overviews(run, summaries),
        more_rounds=more_rounds(run, summaries),
        open=OPEN,
        answers=_by_path(words.answers(run, summaries)),
        sections=_by_path(sections(run, summaries)),
        all_sections=_by_path(sections(run, summaries, every_metric=True)),
        headings=HEADINGS,
        compared=any(s.pairs and s.verdict != "baseline" for s in summaries),
        state=words.state(run),
        intervals=words.intervals(summaries),
        method=words.method(run, summaries),
        cautions=list(words.limits(run, summaries)),
        doubts=run.doubts,
        events=list(words.events(run)),
        limits=_limits(run),
        min_rounds=MIN_ROUNDS_FOR_VERDICT,
        values=_values(pooled),
        min_values=metrics.MIN_VALUES[99.9],
        plots=plots,
        lost=list(words.lost(run)),
        left_out=list(words.left_out(run)),
    )


def _limits(run: Run) -> list[tuple[str, str]]:
    """Each probe's loopback results, of metrics with `in_table`."""
    known = ((probe, metrics.known(metric), value) for (probe, metric), value in run.limits.items())
    return [
        (f"{probe}: {metric.title}", f"{words.number(value)} {words.unit(metric.unit)}")
        for probe, metric, value in known
        if metric.in_table
    ]


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("testbed.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _by_path(some: Sequence[T]) -> list[tuple[str, list[T]]]:
    return [(path.title, list(group)) for path, group in groupby(some, key=lambda one: one.path)]


def _values(pooled: Sequence[Histogram]) -> tuple[int, int] | None:
    """The smallest and the largest number of values in the pooled histograms."""
    totals = [histogram.total for histogram in pooled]
    return (min(totals), max(totals)) if totals else None


def inlined(svg: str, name: str, title: str) -> Markup:
    """An SVG file as part of a page: with unique ids and the page's colours.

    Prolog, metadata and namespaces are removed: HTML does not need them, and they contain web addresses.
    """
    drawing = svg[svg.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r' xmlns(:\w+)?="[^"]*"', "", drawing).replace("xlink:href", "href")
    drawing = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', drawing)
    drawing = re.sub(r'href="#', f'href="#{name}-', drawing)
    drawing = re.sub(r"url\(#", f"url(#{name}-", drawing)
    drawing = re.sub(r'(<svg [^>]*?)width="[^"]*"', r"\1", drawing, count=1)
    drawing = re.sub(r'(<svg [^>]*?)height="[^"]*"', r"\1", drawing, count=1)
    for colour, variable in PAGE_COLOURS.items():
        drawing = drawing.replace(colour, variable)
    label = Markup('<svg role="img" aria-label="{}"').format(title)
    return Markup(drawing.replace("<svg", label, 1))


def embedded(png_base64: str, title: str) -> Markup:
    """A PNG file as part of a page."""
    return Markup('<img alt="{}" src="data:image/png;base64,{}">').format(title, png_base64)
