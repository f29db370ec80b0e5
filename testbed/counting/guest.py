"""Runs in the virtual machine: builds the lab of each design, counts on its paths, prints results as JSON lines."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from testbed.counting import tracing
from testbed.counting.meter import LIMIT_S, MODES, TRACED, Mode
from testbed.experiment.labs import prepare
from testbed.experiment.manifest import scenario_in
from testbed.experiment.schedule import Schedule, Site
from testbed.kernel import machine
from testbed.kernel.offload import switch_offloads
from testbed.lab.capsule import enclosed
from testbed.lab.lab import Lab
from testbed.lab.loopback import SOURCE, TARGET, Loopback
from testbed.plan.addressing import layout
from testbed.probes.probe import ProbeError, reached_by

TRACEFS = Path("/tmp/tracing")
Job = dict[str, Any]
"""`manifest` of the counting, `meter`, the path of its program, the number of `rounds`, and whether to trace
`functions`."""
Where = dict[str, str]
"""The cell, design and path of a count; all empty over loopback."""


def main() -> int:
    job = json.loads(Path(sys.argv[1]).read_text())
    job["exchange"] = tempfile.mkdtemp()  # The capsule has another /run.
    subprocess.run(["mount", "--bind", Path(sys.argv[1]).parent, job["exchange"]], check=True)
    if job["functions"]:
        tracing.mount_tracefs(TRACEFS)
    job["meter"] = shutil.copy(job["meter"], "/tmp/meter")
    return enclosed(lambda: count(job))


def say(kind: str, **facts: Any) -> None:
    print(json.dumps({"kind": kind, **facts}), flush=True)


def count(job: Job) -> int:
    """Count on all paths of a job's scenario."""
    loaded = scenario_in(job["manifest"])
    schedule = Schedule.of(loaded, 0)
    say("machine", facts=machine.facts())
    topology = loaded.topology.value
    families = tuple(sorted({cidr.version for cidr in topology.cluster.pod_cidr}))
    with Loopback(families, layout(topology).fabric_mtu) as lab:
        count_path(job, lab, SOURCE, TARGET, True, [{"cell": "", "design": "", "path": ""}])
    for site in schedule.sites:
        for design in site.designs:
            count_design(job, site, design)
    say("end")
    return 0


def count_design(job: Job, site: Site, design: str) -> None:
    """Build the lab of a design, and count on its paths; cells that share the lab share its counts."""
    where = {"cell": site.cells[0].name, "design": design}
    paths: dict[tuple[str, str], list[Where]] = {}
    for cell in site.cells:
        for name, path in cell.scenario.paths.items():
            paths.setdefault((path.source, path.target), []).append({"cell": cell.name, "design": design, "path": name})
    with ExitStack() as labs:
        prepared = prepare(site, design, labs)
        say("prepared", **where, facts=prepared.facts)
        if prepared.lab is not None:
            for (source, target), named in paths.items():
                count_path(job, prepared.lab, source, target, site.offload, named)
    say("design", **where)


def count_path(job: Job, lab: Lab, source: str, target: str, offload: bool, named: list[Where]) -> None:
    """Count everything on a path, in all rounds; its results have these names."""
    with _served(job["meter"], lab, target):
        for mode in MODES:
            with _offloads(lab, offload, mode.offload and offload):
                for number in range(1, job["rounds"] + 1):
                    output, error = _ask(job["meter"], lab, mode, source, target)
                    for where in named:
                        say("counts", **where, metric=mode.metric, round=number, output=output, error=error)
        if job["functions"] and lab.hosts:
            with tracing.functions(TRACEFS) as trace:
                output, error = _ask(job["meter"], lab, TRACED, source, target, str(TRACEFS / "tracing_on"))
            for where in named:
                file = Path(
                    job["exchange"], f"trace-{where['cell']}-{where['design']}-{where['path']}".replace("/", "_")
                )
                file.write_text(trace.text)
                say("trace", **where, output=output, error=error, file=file.name)


@contextmanager
def _offloads(lab: Lab, usual: bool, wanted: bool) -> Iterator[None]:
    """The offloads of all devices of a lab switched as wanted, then as usual."""
    if wanted != usual:
        _switch(lab, wanted)
    yield
    if wanted != usual:
        _switch(lab, usual)


def _switch(lab: Lab, on: bool) -> None:
    for name, namespace in lab.namespaces.items():
        with namespace.entered():
            switch_offloads([*lab.plan.devices_of(name), "lo"], on=on)


@contextmanager
def _served(meter: str, lab: Lab, place: str) -> Iterator[None]:
    """The server of the meter in a place."""
    with lab.start(place, [meter, "serve"]) as server:
        assert server.stdout
        server.stdout.readline()
        try:
            yield
        finally:
            server.kill()


def _ask(meter: str, lab: Lab, mode: Mode, source: str, target: str, *switch: str) -> tuple[str, str]:
    """The output of the meter's client in a place, and its error; the file `switch` has a 1 while it counts."""
    try:
        address = str(reached_by(lab.plan, source, target))
    except ProbeError as error:
        return "", str(error)
    with lab.start(source, [meter, "ask", address, mode.mode, str(mode.size), str(mode.times), *switch]) as client:
        try:
            output, errors = client.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            client.kill()
            return "", "timed out"
    return output.decode(), errors.decode()


if __name__ == "__main__":
    sys.exit(main())
