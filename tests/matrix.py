"""Every design there is, on this kernel and in the virtual machine: what came of it, and docs/designs.md's table of it.

    sudo .venv/bin/python -m tests.matrix            # runs it all, about half an hour
    .venv/bin/python -m tests.matrix --table         # writes the table again

The results stay in `tests/designs/matrix.json`. A test holds the table against them, and them against the designs.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from testbed.designs import ATTACHMENTS, TRANSPORTS, pairs
from tests.machine import read_outcomes

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "tests/designs/matrix.json"
PAGE = ROOT / "docs/designs.md"
TESTS = "tests/designs/test_matrix.py"
BEGIN, END = "<!-- matrix: begin -->\n", "<!-- matrix: end -->"
PAIR = re.compile(r"test_a_pair_does_what_it_claims\[(?P<pair>.+)-(?P<family>two-nodes|ipv6-only|dual-stack)\]")
INSIDE = re.compile(r"test_a_tunnel_is_left_out_inside_a_subnet\[(?P<pair>.+)\]")
FAMILIES = {"two-nodes": "IPv4", "ipv6-only": "IPv6", "dual-stack": "both"}


def main() -> int:
    if "--table" not in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            outcomes = [Path(folder, name) for name in ("here", "there")]
            matrix = ["--whole-matrix", TESTS]
            subprocess.run(
                [sys.executable, "-m", "pytest", "-q", *matrix, "--outcomes", outcomes[0]], cwd=ROOT, check=False
            )
            subprocess.run(
                [ROOT / "tests/vm", "-q", *matrix, "-m", "whole_matrix or vm", "--outcomes", outcomes[1]],
                cwd=ROOT,
                env=os.environ | {"VM_MINUTES": "90"},
                check=False,
            )
            RESULTS.write_text(json.dumps(collected([read_outcomes(one) for one in outcomes]), indent=1) + "\n")
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    PAGE.write_text(before + BEGIN + table(json.loads(RESULTS.read_text())) + END + rest.split(END)[1])
    return 0


def collected(sessions: list[tuple[str, dict[str, str]]]) -> dict[str, Any]:
    """By pair and case the kernel on which it passed, or `failed`; what ran nowhere is missing."""
    found: dict[str, dict[str, str]] = {pair: {} for pair in pairs()}
    counts = []
    for kernel, outcomes in sessions:
        passed = failed = 0
        for test, outcome in outcomes.items():
            if outcome.startswith("skipped"):
                continue
            passed, failed = passed + (outcome == "passed"), failed + (outcome != "passed")
            if match := PAIR.search(test):
                case = FAMILIES[match["family"]]
            elif match := INSIDE.search(test):
                case = "cross-subnet"
            else:
                continue
            found[match["pair"]][case] = kernel if outcome == "passed" else "failed"
        counts.append({"kernel": kernel, "passed": passed, "failed": failed})
    return {"runs": counts, "pairs": found}


def table(results: dict[str, Any]) -> str:
    """A row for each transport, a column for each attachment."""
    lines = [
        "| | " + " | ".join(f"`{name}`" for name in ATTACHMENTS) + " | left out inside a subnet |",
        "| --- |" + " --- |" * (len(ATTACHMENTS) + 1),
    ]
    for transport in TRANSPORTS:
        cells = [_cell(results["pairs"].get(f"{attachment}+{transport}")) for attachment in ATTACHMENTS]
        inside = results["pairs"].get(f"bridge+{transport}", {}).get("cross-subnet", "")
        lines.append(f"| `{transport}` | {' | '.join(cells)} | {_version(inside)} |")
    runs = "; ".join(
        f"Linux {run['kernel']}: {run['passed']} passed, {run['failed']} failed" for run in results["runs"]
    )
    return "\n".join([*lines, "", f"{runs}.", ""])


def _cell(cases: dict[str, str] | None) -> str:
    """The kernel on which a pair was proven in all families; else what it was proven in."""
    if cases is None:
        return ""
    families = {case: cases.get(case, "not run") for case in FAMILIES.values()}
    if len(set(families.values())) == 1:
        return _version(next(iter(families.values())))
    return ", ".join(f"{case} {_version(kernel)}" for case, kernel in families.items())


def _version(release: str) -> str:
    match = re.match(r"\d+\.\d+", release)
    return match[0] if match else release


if __name__ == "__main__":
    sys.exit(main())
