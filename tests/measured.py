"""README's tables of measured figures, made from the results that the repository has: python -m tests.measured.

A test holds README to them, so that no figure stands there that was not measured.
"""

import csv
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from testbed.report.words import number
from testbed.spec.scenario import AA

REPOSITORY = Path(__file__).parents[1]
README, RESULTS = REPOSITORY / "README.md", REPOSITORY / "results"
ACROSS = "cross-node"

Row = Mapping[str, str]
"""Of summary.csv."""


def main() -> int:
    text = README.read_text()
    for name in TABLES:
        text = block(name).sub(lambda found, name=name: f"{found[1]}{table(name)}{found[3]}", text)
    README.write_text(text)
    return 0


def block(name: str) -> re.Pattern[str]:
    """Where README has the table, as the second group."""
    return re.compile(rf"(<!-- {name}: begin -->\n)(.*?)(<!-- {name}: end -->\n)", re.DOTALL)


def table(name: str) -> str:
    with (RESULTS / name / "summary.csv").open() as file:
        return "".join(f"| {' | '.join(cells)} |\n" for cells in TABLES[name](list(csv.DictReader(file))))


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


TABLES: Mapping[str, Callable[[Sequence[Row]], Iterator[Sequence[str]]]] = {"cnis": _cnis, "ebpf-host-routing": _rules}

if __name__ == "__main__":
    sys.exit(main())
