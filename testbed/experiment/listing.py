"""List of results folders. Reads only their manifests, so that long lists are fast."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.experiment.results import Results, ResultsError, held, read_results

RUNNING = "running"
CUT_SHORT = "cut short"
"""The manifest says `running`, but no run has locked the folder: the program or the machine crashed. `run --resume`
continues it."""
DAMAGED = "damaged"


@dataclass(frozen=True)
class Entry:
    """Summary of a results folder."""

    folder: str
    """Path for the command line."""
    scenario: str
    started: str
    """UTC, ISO 8601."""
    state: str
    """`done`, `running`, `interrupted`, `failed`; `cut short`; `damaged`."""
    reason: str
    """Why it is not done, or damaged."""
    rounds_done: int | None
    rounds_planned: int | None
    """None with `rounds: auto`."""
    kernel: str
    designs: tuple[str, ...]


def entries(folder: Path) -> tuple[Entry, ...]:
    """The results folders in a folder, oldest first, damaged ones last. Raises ResultsError if it cannot be read."""
    try:
        inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise ResultsError(f"{folder} cannot be listed: {error.strerror}") from None
    return tuple(sorted(map(entry, inside), key=lambda e: (e.state == DAMAGED, e.started, e.folder)))


def entry(folder: Path) -> Entry:
    """The entry of a results folder, from its manifest."""
    try:
        return _entry(folder, json.loads((folder / "manifest.json").read_bytes()))
    except FileNotFoundError:
        why = "manifest.json missing"
    except OSError as error:
        why = f"manifest.json cannot be read: {error.strerror}"
    except (ValueError, RecursionError):
        why = "manifest.json is not valid JSON"
    except TypeError as odd:
        why = str(odd)
    return Entry(str(folder), "", "", DAMAGED, why, None, None, "", ())


def opened(folder: Path) -> Results:
    """The results in a folder. Raises ResultsError if it is damaged."""
    results = read_results(folder)
    found = entry(folder)
    if found.state == DAMAGED:
        raise ResultsError(f"{folder} cannot be read: {found.reason}")
    return results


def _entry(folder: Path, manifest: object) -> Entry:
    whole = _mapping(manifest, "manifest.json")
    scenario = _mapping(whole.get("scenario"), "the scenario in manifest.json")
    state, planned = _text(whole, "state"), scenario.get("rounds")
    done = whole.get("rounds_done")
    named = scenario.get("designs")
    if state == RUNNING and not _is_held(folder):
        state = CUT_SHORT
    return Entry(
        str(folder),
        _text(scenario, "name"),
        _text(whole, "started"),
        state,
        _text(whole, "reason"),
        done if isinstance(done, int) else None,
        planned if isinstance(planned, int) else None,
        _text(_mapping(whole.get("machine", {}), "the machine in manifest.json"), "kernel"),
        tuple(map(str, named)) if isinstance(named, list) else (),
    )


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{what} is not a mapping")
    return value


def _text(mapping: Mapping[str, Any], key: str) -> str:
    return str(mapping.get(key) or "")


def _is_held(folder: Path) -> bool:
    """Whether a run has locked the folder, or this process may not check."""
    try:
        with held(folder):
            return False
    except (ResultsError, OSError):
        return True
