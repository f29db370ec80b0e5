"""manifest.json: all facts about a run except its samples, to understand, resume and repeat it."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from testbed import __version__
from testbed.designs import CATALOGUE, design_of
from testbed.experiment.schedule import Schedule
from testbed.kernel import machine
from testbed.kernel.programs import PROGRAMS
from testbed.probes import probe_of
from testbed.probes.placement import chosen
from testbed.spec.design import ReadCni, name_of
from testbed.spec.load import LoadedScenario, scenario_of_texts

FORMAT = 2
"""Format of the results folder. Format 1 had no cells, no A/A arm and no limits."""


class NotResumable(Exception):
    """A run cannot be resumed. The message says why."""


def now() -> str:
    """The current time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def manifest_of(loaded: LoadedScenario, file: str, schedule: Schedule) -> dict[str, Any]:
    """The manifest of a run that is about to begin."""
    scenario = loaded.value
    probes = {name: probe_of(spec) for name, spec in scenario.probes.items()}
    tools = sorted({tool for probe in probes.values() for tool in probe.tools})
    cells = [{"name": cell.name, "factors": dict(cell.factors)} for cell in loaded.cells if cell.factors]
    return {
        "format": FORMAT,
        "testbed": __version__,
        "scenario_file": file,
        "scenario_text": loaded.source.text,
        "topology_file": loaded.topology.source.file,
        "topology_text": loaded.topology.source.text,
        "manifest_texts": loaded.manifests,
        "networks": {
            str(number): choice.model_dump(mode="json")
            for number, choice in enumerate(scenario.designs)
            if isinstance(choice, ReadCni)
        },
        "design_texts": {file: source.text for file, source in loaded.design_sources.items()},
        "scenario": scenario.model_dump(mode="json", by_alias=True),
        "topology": loaded.topology.value.model_dump(mode="json", by_alias=True),
        "cells": cells,
        "arms": dict(schedule.arms),
        "seed": schedule.seed,
        "started": now(),
        "ended": None,
        "state": "running",
        "reason": "",
        "rounds_done": 0,
        "looks": [],
        "machine": machine.facts(),
        "placement": {name: asdict(chosen(scenario.pin, probe.together)) for name, probe in probes.items()},
        "tools": {tool: PROGRAMS[tool].version() for tool in tools},
        "devices": [],
        # In the scenario's order, which differs from the order of building.
        "designs": {
            name_of(choice): {"summary": design_of(choice).summary, "state": ""} for choice in scenario.designs
        },
    }


def scenario_in(manifest: Mapping[str, Any]) -> LoadedScenario:
    """The scenario of a run, from its copy in the manifest, with the number of rounds that the run is now to have.

    Raises NotResumable if the format differs.
    """
    if manifest.get("format") != FORMAT:
        raise NotResumable("it was written by another version of testbed")
    loaded = scenario_of_texts(
        (manifest["scenario_text"], manifest["scenario_file"]),
        (manifest["topology_text"], manifest["topology_file"]),
        CATALOGUE,
        manifest.get("design_texts"),
        manifest.get("networks"),
    )
    now = manifest["scenario"]
    changes = {"rounds": now["rounds"]} | ({"budget": None} if now.get("budget", "") is None else {})
    loaded = replace(loaded, value=loaded.value.model_copy(update=changes))
    texts = tuple((file, text) for file, text in manifest.get("manifest_texts", ()))
    if not texts:
        return loaded
    from testbed.experiment.clusters import with_texts  # Loaded only when needed.

    return with_texts(loaded, texts)


def extended(manifest: Mapping[str, Any], rounds: int) -> dict[str, Any]:
    """The manifest of a run, finished or not, that is to have this number of rounds.

    Raises NotResumable if it has as many already.
    """
    done, looks = manifest.get("rounds_done") or 0, manifest.get("looks") or []
    if rounds <= done:
        raise NotResumable(f"it has {done} round{'s' if done != 1 else ''} already; give a larger number to --rounds")
    if manifest.get("state") == "done" and not looks:
        looks = [done]  # An older version did not record that verdicts were shown at the end.
    return {
        **manifest,
        # The budget was that of the rounds before.
        "scenario": {**manifest["scenario"], "rounds": rounds, "budget": None},
        "looks": looks,
        "state": "interrupted",
    }


def check_resumable(manifest: Mapping[str, Any]) -> None:
    """Raise NotResumable if the run is finished, or began on another machine or kernel."""
    if manifest.get("counts"):
        raise NotResumable("it has counts of instructions: run `testbed count` again")
    if manifest.get("state") == "done":
        done = manifest.get("rounds_done") or 0
        raise NotResumable(f"it is finished; to measure more rounds, add --rounds with a number above {done}")
    then, here = manifest.get("machine", {}), machine.facts()
    for key in ("kernel", "cpu", "cpus"):
        if then.get(key) != here[key]:
            raise NotResumable(
                f"{key}: it began on {then.get(key)}, this machine has {here[key]}; rounds of different machines "
                "cannot be compared: start a new run, and compare both with `testbed compare`"
            )
