"""A counting of a scenario: boots the virtual machine, and writes what is counted there into a results folder."""

import csv
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import testbed
from testbed.counting.graph import functions, parsed
from testbed.counting.meter import DIFFERING, MODES, TRACED, UNIT, Counted, MeterFailed, Mode, counted
from testbed.experiment.labs import plan_of
from testbed.experiment.manifest import manifest_of, now
from testbed.experiment.needs import UNAVAILABLE, UNFIT
from testbed.experiment.results import LOOPBACK, WARM_UP_ROUND, ResultsWriter, Sample
from testbed.experiment.schedule import Schedule
from testbed.kernel.bpf import cache, compiled
from testbed.kernel.lacking import MachineLacks
from testbed.kernel.programs import missing
from testbed.kernel.rights import hindrance
from testbed.plan.objects import Plan
from testbed.plan.shell import script
from testbed.spec.load import LoadedScenario
from testbed.spec.scenario import AA, LIMITS
from testbed.vm import machine

PROBE = "instructions"
"""Name of the probe, and of its tool, in results."""
ROUNDS = 2
"""They agree to within DIFFERING, or the difference is told."""
HEADLINE = ("icmp_instructions", "tcp_64_instructions", "connect_instructions", "bulk_instructions")
"""The metrics of the first table of reports."""
GUEST = "testbed.counting.guest"
NICE = 10
FILE = "functions.csv"
COLUMNS = ("cell", "design", "path", "layer", "calls", "instructions", "stack")


class Watcher(Protocol):
    """Is told how far a counting is."""

    def booting(self, kernel: str) -> None: ...

    def planned(self, designs: int) -> None:
        """The kernel has booted; this number of designs, each in every cell, will be counted."""

    def prepared(self, design: str, ready: bool, news: str) -> None: ...

    def ended(self, design: str, news: str) -> None:
        """Everything was counted on a design's paths."""


def need() -> str:
    """The kernel to boot. Raises MachineLacks, naming everything that is missing here."""
    version = machine.kernel()
    lines = [f"{what} is missing: {machine.REMEDY}" for what in machine.missing(version)]
    lines += [f"the program {p.name} is missing ({p.purpose}): {p.remedy}" for p in missing(("clang",))]
    if reason := hindrance():
        lines.append(reason)
    if lines:
        raise MachineLacks(lines)
    return version


def manifest_for(loaded: LoadedScenario, file: str, schedule: Schedule) -> dict[str, Any]:
    """The manifest of a counting: as of a run, with the meter as its only probe."""
    manifest = manifest_of(loaded, file, schedule)
    scenario = manifest["scenario"] | {
        "probes": {PROBE: {"tool": PROBE}},
        "rounds": ROUNDS,
        "aa": False,
        "headline": list(HEADLINE),
    }
    arms = {arm: design for arm, design in schedule.arms.items() if arm != AA}
    return manifest | {"counts": True, "scenario": scenario, "arms": arms, "placement": {}, "tools": {}}


class Count:
    """One counting of a scenario into one results folder. Use it inside a capsule."""

    def __init__(
        self,
        loaded: LoadedScenario,
        schedule: Schedule,
        manifest: dict[str, Any],
        writer: ResultsWriter,
        watcher: Watcher,
        meter: Path,
        with_functions: bool = False,
    ) -> None:
        """`meter` is the program from `build`; `with_functions` also traces where the instructions go."""
        self._schedule = schedule
        self._manifest = manifest
        self._writer = writer
        self._watcher = watcher
        self._meter = meter
        self._with_functions = with_functions
        self._names = loaded.value.design_names
        self._several = len(schedule.sites) > 1
        self._rounds: dict[tuple[str, str, str, str], list[float]] = {}
        """The count of each round, by cell, design, path and metric."""
        self._pending = b""
        self._said: list[str] = []
        """Lines of the virtual machine that are no results."""
        self._ended = False
        """Whether the virtual machine has counted everything."""
        self._well = True

    def carry_out(self, version: str) -> bool:
        """Count all designs; return whether all passed their checks and gave counts.

        Ctrl-C and errors are recorded in the manifest and raised again. What was counted until then is on disk.
        """
        self._note(state="running", reason="", ended=None)
        for name in self._names:
            site = next((site for site in self._schedule.sites if site.fits(name)), None)
            with suppress(Exception):  # Reported when its lab is built.
                if site:
                    self._draw(name, plan_of(site, name))
        state, reason = "failed", "ended unexpectedly"
        try:
            self._boot(version)
            state, reason = "done", ""
        except KeyboardInterrupt:
            state, reason = "interrupted", "interrupted by the user"
            raise
        except SystemExit:
            state, reason = "interrupted", "terminated"
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise
        finally:
            self._note(state=state, reason=reason, ended=now(), rounds_done=ROUNDS if state == "done" else 0)
        return self._well

    def _draw(self, design: str, plan: Plan) -> None:
        """Write the commands of a design, and compile its eBPF programs: here that takes a tenth of the time."""
        self._writer.write_plan(design, script(plan))
        for item in {space.bpf for space in plan.spaces if space.bpf}:
            compiled(item)

    def apart(self) -> Iterator[str]:
        """A line for each count whose rounds differ by more than DIFFERING."""
        for (cell, design, path, metric), values in self._rounds.items():
            if max(values) > min(values) * (1 + DIFFERING):
                where = " ".join(filter(None, (cell, design, path, metric)))
                yield f"{where}: {' and '.join(f'{value:,.0f}' for value in values)} instructions"

    def _boot(self, version: str) -> None:
        self._watcher.booting(version)
        machine.EXCHANGE.mkdir()
        job = machine.EXCHANGE / "job.json"
        meter = machine.EXCHANGE / "meter"
        shutil.copy(self._meter, meter)
        facts = {"manifest": self._manifest, "rounds": ROUNDS, "meter": str(meter), "functions": self._with_functions}
        job.write_text(json.dumps(facts))
        os.nice(NICE)
        home = str(Path(testbed.__file__).parents[1])
        variables = {
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "PYTHONPATH": home,
            "PYTHONUNBUFFERED": "1",
            "XDG_CACHE_HOME": str(cache("")).removesuffix("/testbed"),
        }
        command = [sys.executable, "-m", GUEST, str(job)]
        code = machine.run(version, command, variables, Path("/"), self.hear, counting=True)
        if code or not self._ended:
            said = "\n".join([*self._said[-20:], *machine.CONSOLE.read_text(errors="replace").splitlines()[-100:]])
            raise MeterFailed(f"the virtual machine ended with {code}:\n{said}")

    def hear(self, chunk: bytes) -> None:
        """Take what the virtual machine prints: a JSON line for each result."""
        *lines, self._pending = (self._pending + chunk).split(b"\n")
        for line in lines:
            text = line.decode(errors="replace").strip()
            if text.startswith("{"):
                self._take(json.loads(text))
            elif text:
                self._said.append(text)

    def _take(self, told: Mapping[str, Any]) -> None:
        """Record one result of the virtual machine."""
        match told["kind"]:
            case "machine":
                self._note(machine=told["facts"])
                self._watcher.planned(sum(len(site.designs) for site in self._schedule.sites))
            case "prepared":
                self._prepared(told)
            case "counts":
                self._counts(told)
            case "trace":
                self._functions(told)
            case "design":
                self._watcher.ended(_where(told), self._news(told))
            case "end":
                self._ended = True

    def _prepared(self, told: Mapping[str, Any]) -> None:
        facts, cell, design = dict(told["facts"]), told["cell"], told["design"]
        facts.pop("up_seconds", None)  # By a clock that counts instructions.
        out, entry = facts["state"] in (UNAVAILABLE, UNFIT), self._manifest["designs"].get(design, {})
        left_out = dict(entry.get("left_out", {}))
        if out and self._several:
            left_out[cell] = facts["reason"]
            if len(left_out) < len(self._schedule.sites):
                facts = {key: value for key, value in entry.items() if key != "left_out"}
            else:
                facts |= {"state": UNAVAILABLE, "reason": "; ".join(dict.fromkeys(left_out.values()))}
        elif not out and facts["state"] != "measured":
            self._well = False
        self._manifest["designs"][design] = facts | {"left_out": left_out}
        self._note()
        checked = told["facts"].get("check")
        news = f"{checked['passed']} of {checked['asked']} checks passed" if checked else told["facts"]["reason"]
        lines = "".join(f"\n  {failure}" for failure in checked["failures"]) if checked else ""
        self._watcher.prepared(_where(told), told["facts"]["state"] == "measured", news + lines)

    def _counts(self, told: Mapping[str, Any]) -> None:
        mode = next(mode for mode in MODES if mode.metric == told["metric"])
        design, path = told["design"] or LIMITS, told["path"] or LOOPBACK
        stem = "-".join(filter(None, (str(told["round"]), told["cell"], design, path, mode.metric)))
        self._writer.write_raw(stem.replace("/", "_"), told["output"].encode())
        number = WARM_UP_ROUND if design == LIMITS else told["round"]

        def sample(metric: str, unit: str, value: float | None, error: str = "") -> Sample:
            where = (told["cell"], design, path, PROBE, metric, unit, value)
            return Sample(number, 1, *where, started=now(), error=error)

        try:
            if told["error"]:
                raise MeterFailed(" ".join(told["error"].split()))
            found = counted(told["output"], mode)
        except MeterFailed as reason:
            self._well = False
            self._writer.append([sample(mode.metric, UNIT, None, str(reason))])
            return
        self._writer.append(sample(*value) for value in _values(mode, found))
        self._rounds.setdefault((told["cell"], design, path, mode.metric), []).append(found.typical)

    def _functions(self, told: Mapping[str, Any]) -> None:
        """Record where a round trip's instructions go: a row of functions.csv for each function."""
        file = machine.EXCHANGE / told["file"]
        try:
            if told["error"]:
                raise MeterFailed(" ".join(told["error"].split()))
            traced = counted(told["output"], replace(TRACED, average=True))
        except MeterFailed:
            self._well = False
            return
        finally:
            text = file.read_text()
            file.unlink()
        counts = self._rounds[told["cell"], told["design"], told["path"], TRACED.metric]
        found = functions(parsed(text.splitlines()), TRACED.times, sum(counts) / len(counts), traced.typical)
        with (self._writer.folder / FILE).open("a", newline="") as out:
            rows = csv.writer(out, lineterminator="\n")
            if out.tell() == 0:
                rows.writerow(COLUMNS)
            where = told["cell"], told["design"], told["path"]
            rows.writerows(
                (*where, one.layer, f"{one.calls:g}", f"{one.instructions:.1f}", ";".join(one.stack)) for one in found
            )

    def _news(self, told: Mapping[str, Any]) -> str:
        """The counts of the first headline metric, by path."""
        here = {
            path: values
            for (cell, design, path, metric), values in self._rounds.items()
            if (cell, design, metric) == (told["cell"], told["design"], HEADLINE[1])
        }
        return ", ".join(f"{path} {values[0]:,.0f}" for path, values in here.items()) or "nothing counted"

    def _note(self, **changes: Any) -> None:
        self._manifest |= changes
        self._writer.write_manifest(self._manifest)


def _values(mode: Mode, found: Counted) -> Iterator[tuple[str, str, float]]:
    yield mode.metric, UNIT, found.typical
    yield f"{mode.metric}_min", UNIT, found.minimum
    yield f"{mode.metric}_differing", "%", found.differing


def _where(told: Mapping[str, Any]) -> str:
    return " ".join(filter(None, (told["cell"], told["design"])))
