"""A sweep's cells: every combination of its values, applied to the scenario and the topology and validated.

A dotted path names the key to replace. `topology.fabric.mtu` is the key `mtu` of `fabric` in the topology's file;
`offload`, `pin`, `probes.NAME.KEY` and `designs.NAME.KEY` (of a design given in full) are keys of the scenario.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from testbed.spec.design import Catalogue, Choice, CniSpec, ReadCni, is_file
from testbed.spec.problems import Invalid, Misfit, each
from testbed.spec.reading import read
from testbed.spec.scenario import MAX_CELLS, Scenario
from testbed.spec.source import Source, dotted, parse
from testbed.spec.topology import Topology
from testbed.spec.tree import Odd
from testbed.spec.types import Spec

SpecT = TypeVar("SpecT", bound=Spec)

ROOTS = ("topology", "designs", "probes", "offload", "pin")
"""First keys of valid paths."""
TOPOLOGY = "topology"

Setting = tuple[str, int]
"""Path of a factor, and index of one of its values."""


@dataclass(frozen=True)
class Cell:
    """One combination of a sweep's values. Without a sweep there is one cell with an empty name."""

    name: str
    """Such as `mtu=1500 offload=on`."""
    factors: Mapping[str, str]
    """Values as the user wrote them, by dotted path."""
    scenario: Scenario
    topology: Topology
    cluster: object = None
    """The Kubernetes objects with which its labs begin, if any; computed from the scenario's manifests."""

    def __str__(self) -> str:
        return self.name or "the only cell"


def cells(
    source: Source,
    scenario: Scenario,
    topology_source: Source,
    topology: Topology,
    catalogue: Catalogue,
    design_sources: Mapping[str, Source],
) -> tuple[tuple[Cell, ...], list[Misfit]]:
    """All cells of a scenario and its topology, and the problems of its sweep, located in the scenario.

    Each value is first tried by itself, to report an error in it once and at its location. An error that the files have
    without the sweep is not reported again.
    """
    if not scenario.designs or not scenario.sweep:
        return (Cell("", {}, scenario, topology),), []
    misfits = list(_path_misfits(scenario))
    count = prod(len(values) for values in scenario.sweep.values())
    if count > MAX_CELLS:
        misfits.append(Misfit(("sweep",), f"the sweep has {count} combinations, but at most {MAX_CELLS} can be run"))
        return (), misfits
    maker = _Maker(source, topology_source, scenario, catalogue, design_sources)
    _, known = maker.cell([])
    paths = (path for path in scenario.sweep if _root(path) in ROOTS)
    for setting in ((path, index) for path in paths for index in range(len(scenario.sweep[path]))):
        misfits += (_at(setting, misfit) for misfit in maker.cell([setting])[1] if misfit not in known)
    if misfits:
        return (), misfits
    made = []
    for settings in product(*([(path, i) for i in range(len(values))] for path, values in scenario.sweep.items())):
        cell, found = maker.cell(settings)
        misfits += (Misfit(("sweep",), f"{maker.name(settings)}: {m.message}") for m in found if m not in known)
        if cell:
            made.append(cell)
    return tuple(made), misfits


def _path_misfits(scenario: Scenario) -> Iterator[Misfit]:
    for path, values in scenario.sweep.items():
        if _root(path) not in ROOTS:
            yield Misfit(
                ("sweep", path),
                f"must be a dotted path into {', '.join(ROOTS[:-1])} or {ROOTS[-1]}, such as topology.fabric.mtu",
                valid=ROOTS,
                at_key=True,
            )
        for index, value in enumerate(values):
            if value in values[:index]:
                yield Misfit(("sweep", path, index), "this value is listed twice; list it once")


def _root(path: str) -> str:
    return path.partition(".")[0]


def _at(setting: Setting, misfit: Misfit) -> Misfit:
    path, index = setting
    where = dotted(misfit.loc)
    message = misfit.message if where in ("", path) else f"{where}: {misfit.message}"
    return Misfit(("sweep", path, index), message, valid=misfit.valid)


class _Dumper(yaml.SafeDumper):
    """Also writes the values that no field accepts."""


_Dumper.add_representer(Odd, lambda dumper, odd: dumper.represent_str(odd.text))


@dataclass(frozen=True)
class _Maker:
    """Makes cells of a scenario."""

    source: Source
    topology_source: Source
    scenario: Scenario
    catalogue: Catalogue
    design_sources: Mapping[str, Source]
    """Design files, by name."""

    def cell(self, settings: Sequence[Setting]) -> tuple[Cell | None, list[Misfit]]:
        """The cell of these settings, and its problems; locations in the topology start with `topology`.

        None if the settings cannot be applied.
        """
        scenario_data: Any = deepcopy(self.source.data)
        topology_data: Any = deepcopy(self.topology_source.data)
        del scenario_data["sweep"]
        scenario_data["designs"] = [deepcopy(self._design(choice)) for choice in scenario_data["designs"]]
        for path, index in settings:
            value = self.scenario.sweep[path][index]
            if isinstance(value, Odd):
                return None, [Misfit((), f"'{value.text}' is not a decimal number; write one, or use quotes")]
            below = path.removeprefix(f"{TOPOLOGY}.")
            refusal = _replace(*((scenario_data, path) if below == path else (topology_data, below)), value)
            if refusal:
                return None, [refusal if below == path else replace(refusal, loc=(TOPOLOGY, *refusal.loc))]
        topology, misfits = _read(Topology, topology_data, self.topology_source.file)
        misfits = [replace(misfit, loc=(TOPOLOGY, *misfit.loc)) for misfit in (*misfits, *each(topology.misfits()))]
        scenario, found = _read(Scenario, scenario_data, self.source.file)
        misfits += found
        with suppress(Invalid):
            read = [_as_read(*pair) for pair in zip(scenario.designs, self.scenario.designs, strict=True)]
            if None in read:
                message = "the configuration of CNI plugins cannot be swept; list several designs"
                return None, [*misfits, Misfit((), message)]
            scenario = scenario.model_copy(update={"designs": tuple(read)})
        misfits += scenario.misfits(topology, self.catalogue)
        factors = {path: self.text(path, i) for path, i in settings}
        return Cell(self.name(settings), factors, scenario, topology), misfits

    def _design(self, choice: Any) -> Any:
        """The data of a design file, or the choice itself."""
        read = self.design_sources.get(choice) if is_file(choice) else None
        return read.data if read else choice

    def name(self, settings: Sequence[Setting]) -> str:
        last = [path.rpartition(".")[2] for path in self.scenario.sweep]
        parts = []
        for path, index in settings:
            short = path.rpartition(".")[2]
            parts.append(f"{short if last.count(short) == 1 else path}={self.text(path, index)}")
        return " ".join(parts)

    def text(self, path: str, index: int) -> str:
        """A scalar as the user wrote it; lists and mappings as JSON."""
        node = self.source.place(("sweep", path, index)).value
        return json.dumps(node.data) if isinstance(node.data, list | dict) else node.text


def _as_read(choice: Choice, read: Choice) -> Choice | None:
    """A design with CNI plugins, with the network configuration read before; None if that is swept."""
    if not isinstance(read, ReadCni):
        return choice
    if not isinstance(choice, CniSpec):
        return read
    if choice.cni != read.cni:
        return None
    swept = {name: getattr(choice, name) for name in ("transport", "capabilities", "pods", "timeout")}
    return read.model_copy(update=swept)


def _read(model: type[SpecT], data: object, file: str) -> tuple[SpecT, list[Misfit]]:
    """Changed data as a model, and the errors in its keys and values."""
    try:
        return model.model_validate(data, by_alias=True, by_name=False), []
    except ValidationError:
        return read(model, parse(yaml.dump(data, Dumper=_Dumper, sort_keys=False), file))


def _replace(data: Any, path: str, value: object) -> Misfit | None:
    """Set the value at a dotted path; or the reason why not, as all keys except the last must exist."""
    *above, last = path.split(".")
    for depth, step in enumerate(above):
        if isinstance(data, list):  # of designs
            data = {item["name"]: item for item in data if isinstance(item, dict) and "name" in item}
        if not isinstance(data, dict) or step not in data:
            valid = tuple(data) if isinstance(data, dict) else ()
            return Misfit((*above[:depth],), f"unknown key '{step}'", valid=valid)
        data = data[step]
    if not isinstance(data, dict):
        return Misfit(tuple(above), f"not a mapping, so it cannot have the key '{last}'")
    data[last] = deepcopy(value)
    return None
