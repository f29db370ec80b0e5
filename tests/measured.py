"""The tables of measured figures in docs/, made from the results that the repository has: python -m tests.measured.

A test holds the pages to them, so that no figure stands there that was not measured.
"""

import csv
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from testbed.report.words import number, unit
from testbed.spec.scenario import AA

REPOSITORY = Path(__file__).parents[1]
RESULTS = REPOSITORY / "results"
ACROSS = "cross-node"

Row = Mapping[str, str]
"""Of summary.csv."""


def main() -> int:
    for name, (page, _) in TABLES.items():
        file = REPOSITORY / page
        text = block(name).sub(lambda found, name=name: f"{found[1]}{table(name)}{found[3]}", file.read_text())
        file.write_text(text)
    return 0


def block(name: str) -> re.Pattern[str]:
    """Where its page has the table, as the second group."""
    return re.compile(rf"(<!-- {name}: begin -->\n)(.*?)(<!-- {name}: end -->\n)", re.DOTALL)


def table(name: str) -> str:
    with (RESULTS / name / "summary.csv").open() as file:
        return "".join(f"| {' | '.join(cells)} |\n" for cells in TABLES[name][1](list(csv.DictReader(file))))


def _cnis(rows: Sequence[Row]) -> Iterator[Sequence[str]]:
    """A row for each design; in bold what differs from the baseline."""
    latency, rate, lab = ("RTT µs", "rtt_p50"), ("Gbit/s", "throughput"), ("lab", "at=rack1")
    paths = [("same node", "same-node", "at=rack1"), ("other node", "other-node", "at=rack1")]
    paths.append(("other subnet", "other-node", "at=rack2"))
    columns = [(f"{title}, {path}", metric, *where) for title, metric in (latency, rate) for path, *where in paths]
    columns += [
        ("connections/s, other node", "connections", "other-node", "at=rack1"),
        ("CPU s/Gbit, other node", "cpu_per_gbit", "other-node", "at=rack1"),
        ("attach ms", "attach_time", *lab),
        ("converge ms", "convergence", *lab),
    ]
    found = {(row["design"], row["metric"], row["path"], row["cell"]): row for row in rows}
    yield ["design", *(title for title, *_ in columns)]
    yield ["---", *("---:" for _ in columns)]
    for design in dict.fromkeys(row["design"] for row in rows):
        yield [f"`{design}`", *(_bold(found.get((design, *where))) for _, *where in columns)]


def _bold(row: Row | None) -> str:
    if row is None:
        return ""
    value = number(float(row["median"]))
    return f"**{value}**" if row["verdict"] in ("faster", "slower") else value


def _rules(rows: Sequence[Row]) -> Iterator[Sequence[str]]:
    """A row for each design and metric, a column for each number of rules."""
    cells = list(dict.fromkeys(row["cell"] for row in rows))
    yield ["rules on each node", *(f"{int(cell.partition('=')[2]):,}" for cell in cells)]
    yield ["---", *("---:" for _ in cells)]
    for metric, title in (("throughput", "Gbit/s"), ("rtt_p50", "RTT p50 in µs")):
        own = [row for row in rows if (row["path"], row["metric"]) == (ACROSS, metric) and row["design"] != AA]
        for design, some in groupby(sorted(own, key=lambda row: _order(rows, row["design"])), lambda r: r["design"]):
            values = {row["cell"]: row for row in some}
            yield [f"`{design}`, {title}", *(_with_ratio(values[cell]) for cell in cells)]


def _order(rows: Sequence[Row], design: str) -> int:
    return list(dict.fromkeys(row["design"] for row in rows)).index(design)


def _with_ratio(row: Row) -> str:
    resolved = row["verdict"] in ("faster", "slower")
    return number(float(row["median"])) + (f" ({float(row['ratio']):.2f}, {row['verdict']})" if resolved else "")


def _example(rows: Sequence[Row]) -> Iterator[Sequence[str]]:
    """A row for each design: what it has between nodes, and how that compares with the baseline."""
    columns = {"rtt_p50": "RTT p50", "throughput": "throughput, one TCP stream"}
    yield ["cross-node", *columns.values()]
    yield ["---"] * (1 + len(columns))
    found = {(row["design"], row["metric"]): row for row in rows if row["path"] == ACROSS}
    for design in dict.fromkeys(row["design"] for row in rows):
        cells = [found[design, metric] for metric in columns]
        is_baseline = cells[0]["verdict"] == "baseline"
        role = " (baseline)" if is_baseline else " (the baseline again)" if design == AA else ""
        yield [f"`{design}`{role}", *map(_compared, cells)]


def _compared(row: Row) -> str:
    """`21.0 µs, ratio 0.963 (0.960 to 0.965), not resolved (under 44 %)`."""
    value = f"{number(float(row['median']))} {unit(row['unit'])}"
    if row["verdict"] == "baseline":
        return value
    ratio, low, high = (f"{float(row[key]):.3f}" for key in ("ratio", "ratio_low", "ratio_high"))
    seen = f" (under {float(row['smallest']):.0%})".replace("%", " %") if row["verdict"] == "not resolved" else ""
    return f"{value}, ratio {ratio} ({low} to {high}), {row['verdict']}{seen}"


TABLES: Mapping[str, tuple[str, Callable[[Sequence[Row]], Iterator[Sequence[str]]]]] = {
    "example": ("docs/results.md", _example),
    "cnis": ("docs/cnis.md", _cnis),
    "ebpf-host-routing": ("docs/cnis.md", _rules),
}
"""By the folder of results: the page, and what makes the table."""

if __name__ == "__main__":
    sys.exit(main())
