"""Results folders with known synthetic numbers, written as a run writes them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from testbed.experiment.results import Histogram, ResultsWriter, Sample, Values, binned

STARTED = "2026-11-21T06:00:00+00:00"

Rtt = Callable[[str, str, int], Values]
"""Every RTT of a design, path and round, in microseconds."""


@dataclass
class Recipe:
    """The contents of a synthetic folder. `value` gives one number, or None for a failed sample."""

    designs: Sequence[str] = ("l2", "l3-gateway", "l3-host-routes", "vxlan")
    baseline: str = "l3-host-routes"
    paths: Mapping[str, tuple[str, str]] = field(default_factory=lambda: {"cross-node": ("client", "web-2")})
    rounds: int = 5
    planned: int | None = None
    throughput: Callable[[str, str, int], float | None] | None = None
    """Gbit/s of a design, path and round."""
    rtt: Rtt | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict)
    """Replaces keys of the manifest."""
    design_states: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Replaces keys of a design's entry in the manifest."""
    latency_probes: Sequence[str] = ("latency",)
    write_plans: bool = True
    aa: bool = False
    """Whether the baseline is measured twice, the second time as the arm `aa`."""
    cells: Sequence[str] = ()
    """Of a sweep; `value` is then called with the design `DESIGN CELL`."""
    limit: float | None = None
    """Gbit/s of throughput over loopback."""
    flags: str = ""
    """Of every sample."""


def write_folder(folder: Path, recipe: Recipe) -> Path:
    with ResultsWriter(folder) as writer:
        writer.write_manifest(_manifest(recipe))
        if recipe.limit is not None:
            limits = (0, 1, recipe.cells[0] if recipe.cells else "", "limits", "loopback", "throughput")
            writer.append([Sample(*limits, "throughput", "Gbit/s", recipe.limit, STARTED)])
        for round_ in range(recipe.rounds + 1):
            for cell in recipe.cells:
                for position, design in enumerate(_measured(recipe), 1):
                    for path in recipe.paths:
                        writer.append(_throughput(recipe, round_, position, design, path, cell))
            for position, design in enumerate(() if recipe.cells else _measured(recipe), 1):
                for path in recipe.paths:
                    writer.append(_throughput(recipe, round_, position, design, path))
                    for probe in recipe.latency_probes if recipe.rtt else ():
                        writer.append(*_latency(recipe.rtt, round_, position, design, path, probe))
        for design in recipe.designs if recipe.write_plans else ():
            writer.write_plan(design, f"# {design}\nip netns add node1\nip link add a type veth\n")
    return folder


def _measured(recipe: Recipe) -> Iterator[str]:
    for design in recipe.designs:
        if recipe.design_states.get(design, {}).get("state", "measured") == "measured":
            yield design
    if recipe.aa:
        yield "aa"


def _throughput(recipe: Recipe, round_: int, position: int, design: str, path: str, cell: str = "") -> list[Sample]:
    if recipe.throughput is None:
        return []
    value = recipe.throughput(f"{design} {cell}" if cell else design, path, round_)
    where = (round_, position, cell, design, path, "throughput")
    if value is None:
        return [Sample(*where, "", "", None, STARTED, "iperf3 failed with exit code 1: no route to host")]
    return [
        Sample(*where, "throughput", "Gbit/s", value, STARTED, idle=0.01, steal=0.0, flags=recipe.flags),
        Sample(*where, "retransmits", "segments", 0.0, STARTED),
    ]


def _latency(
    rtt: Rtt, round_: int, position: int, design: str, path: str, probe: str
) -> tuple[list[Sample], list[Histogram]]:
    values = rtt(design, path, round_)
    where = (round_, position, "", design, path, probe)
    histogram = Histogram(round_, "", design, path, probe, "rtt", "us", *binned(values))
    metrics = {f"rtt_p{q}": float(np.percentile(values, float(q))) for q in ("50", "90", "99", "99.9")}
    if len(values) < 10_000:
        del metrics["rtt_p99.9"]
    samples = [Sample(*where, metric, "us", value, STARTED) for metric, value in metrics.items()]
    return [*samples, Sample(*where, "messages", "count", len(values), STARTED)], [histogram]


def _manifest(recipe: Recipe) -> dict[str, Any]:
    probes: dict[str, Any] = {
        name: {"tool": "sockperf", "protocol": "tcp", "message": 64, "duration": 2.0} for name in recipe.latency_probes
    }
    probes["throughput"] = {"tool": "iperf3", "protocol": "tcp", "streams": 1, "duration": "PT2S"}
    manifest = {
        "format": 2,
        "testbed": "0.1.0",
        "scenario_file": "scenarios/synthetic.yaml",
        "scenario_text": "name: synthetic\n",
        "topology_text": "name: two-nodes\n",
        "scenario": {
            "name": "synthetic",
            "designs": list(recipe.designs),
            "baseline": recipe.baseline,
            "paths": {name: {"from": one, "to": other} for name, (one, other) in recipe.paths.items()},
            "probes": probes,
            "rounds": recipe.planned or recipe.rounds,
            "seed": 123,
        },
        "seed": 123,
        "started": STARTED,
        "ended": "2026-11-21T06:05:00+00:00",
        "state": "done",
        "reason": "",
        "machine": {"kernel": "6.1.0", "cpu": "a processor", "cpus": 2, "memory_bytes": 8 * 2**30},
        "tools": {"iperf3": "iperf 3.12", "sockperf": "3.7"},
        "devices": [{"first": "node1 eth0", "alike": 2, "mtu": 1500, "qdisc": "noqueue", "offloads": "tso gso"}],
        "cells": [{"name": name, "factors": {"topology.fabric.mtu": name[4:]}} for name in recipe.cells],
        "designs": {design: _design(recipe, design) for design in recipe.designs},
    }
    return manifest | dict(recipe.manifest)


def _design(recipe: Recipe, design: str) -> dict[str, Any]:
    entry = {
        "summary": f"how {design} carries pod traffic",
        "state": "measured",
        "reason": "",
        "check": {"asked": 60, "passed": 60, "failures": []},
        "evidence": ["6 frames with pod MACs seen on the fabric"],
        "up_seconds": 0.12,
        "pod_mtu": 1500,
    }
    return entry | dict(recipe.design_states.get(design, {}))


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder from a recipe's fields."""

    def made(name: str = "results", **fields: Any) -> Path:
        return write_folder(tmp_path / name, Recipe(**fields))

    return made


@pytest.fixture
def spread_rtt() -> Callable[..., Rtt]:
    """Make lognormal RTTs with a heavy tail; each design is 10% slower than the previous one."""

    def made(designs: Sequence[str], count: int = 3_000) -> Rtt:
        def rtt(design: str, path: str, round_: int) -> Values:
            random = np.random.default_rng([designs.index(design), len(path), round_])
            values = 15 * 1.1 ** designs.index(design) * random.lognormal(0, 0.15, count)
            late = random.random(count) < 0.01
            return np.asarray(np.where(late, values * (1 + random.pareto(1.5, count)), values))

        return rtt

    return made
