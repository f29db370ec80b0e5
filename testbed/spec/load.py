"""Loading topologies, scenarios and designs from files, or reporting every problem in them.

There are four checks: the YAML syntax, each value (pydantic), values that do not fit together (`misfits()`), and
whether designs fit the topology. A syntax error ends them. Otherwise each check runs on all values that passed the
checks before, so that one run reports every mistake of the scenario, its topology and its designs.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

from testbed.spec.design import (
    PLUGINS,
    Catalogue,
    Choice,
    CniSpec,
    DesignSpec,
    NetworkTexts,
    ReadCni,
    TransportSpec,
    is_file,
    is_network,
)
from testbed.spec.files import Unreadable, nearest_file, read_text
from testbed.spec.problems import Invalid, Loc, Misfit, Problem, SpecError, each
from testbed.spec.reading import read
from testbed.spec.scenario import Scenario
from testbed.spec.source import Source, parse, read_source
from testbed.spec.sweep import Cell, cells
from testbed.spec.topology import Topology
from testbed.spec.tree import Node
from testbed.spec.types import Spec
from testbed.spec.unfit import unfit_problems
from testbed.spec.wording import keys_of

_OF_PODS = re.compile(r"name|nodes\..*\.pods\b.*")
"""Location of problems with which a topology still has its nodes, ranges and fabric, so that designs can be judged."""
MAX_PROBLEMS = 100
"""Problems reported per file."""

SpecT = TypeVar("SpecT", bound=Spec)


@dataclass(frozen=True)
class Loaded(Generic[SpecT]):
    """A file's value with the file, so that later checks can point into it."""

    value: SpecT
    source: Source


@dataclass(frozen=True)
class LoadedScenario(Loaded[Scenario]):
    """A scenario, its topology, and the cells of its sweep."""

    topology: Loaded[Topology]
    cells: tuple[Cell, ...]
    design_sources: Mapping[str, Source]
    """Files of designs, by their name in the scenario."""
    manifests: tuple[tuple[str, str], ...] = ()
    """Kubernetes manifests as pairs of file name and text, once they are read."""


def load_topology(path: Path) -> Loaded[Topology]:
    """The topology in a file. Raises SpecError with every problem."""
    source = read_source(path)
    _refuse_objects(source, "a topology")
    if _kind(source) is Scenario:
        raise SpecError((_a_scenario(source),))
    return _topology_of(source)


def _a_scenario(source: Source) -> Problem:
    return Problem(source.file, 0, 0, "expected a topology, found a scenario")


def topology_of_text(text: str, file: str) -> Loaded[Topology]:
    """The topology in a text, such as the one that a running lab keeps; `file` is the name of its file."""
    return _topology_of(parse(text, file))


def load_scenario(path: Path, catalogue: Catalogue) -> LoadedScenario:
    """The scenario in a file, and its topology. Raises SpecError with every problem of both."""
    source = read_source(path)
    _refuse_objects(source, "a scenario")
    if _kind(source) is Topology:
        raise SpecError((Problem(source.file, 0, 0, "expected a scenario, found a topology"),))
    return _scenario_of(source, path, catalogue)


def scenario_of_text(text: str, path: Path, catalogue: Catalogue) -> LoadedScenario:
    """The scenario in a text; `path` is the name of its file, from whose folder others are relative."""
    return _scenario_of(parse(text, str(path)), path, catalogue)


def load_any(path: Path, catalogue: Catalogue) -> Loaded[Topology] | Loaded[DesignSpec | ReadCni] | LoadedScenario:
    """The topology, scenario or design in a file, detected by its keys. Raises SpecError with every problem."""
    if _is_network_file(path):
        alone: DesignSpec | ReadCni = _network_alone(path, catalogue)
        return Loaded(alone, Source(str(path), "", Node(0, 0, {})))
    source = read_source(path)
    kind = _kind(source)
    if kind is None:
        raise SpecError((*source.problems, source.problem(_unknown_kind())))
    if kind in (DesignSpec, CniSpec):
        spec, problems = _design_in(source, catalogue, path.parent)
        if spec is None or problems:
            raise SpecError(_in_order(problems))
        return Loaded(spec, source)
    return _topology_of(source) if kind is Topology else _scenario_of(source, path, catalogue)


def _kind(source: Source) -> type[Spec] | None:
    """The model that most of the file's keys belong to; None if several match equally."""
    keys = source.data if isinstance(source.data, dict) else {}
    models: tuple[type[Spec], ...] = (Topology, Scenario, CniSpec if "cni" in keys else DesignSpec)
    counts = {model: sum(key in keys for key in _own_keys(model)) for model in models}
    best = max(counts.values())
    found = [model for model, count in counts.items() if count == best]
    return found[0] if len(found) == 1 else None


def _refuse_objects(source: Source, expected: str) -> None:
    """Raises SpecError for a manifest of Kubernetes."""
    if isinstance(source.data, dict) and {"apiVersion", "kind"} <= source.data.keys():
        message = f"expected {expected}, found an object of Kubernetes (kind {source.data['kind']})"
        raise SpecError((source.problem(Misfit(("kind",), message, at_key=True)),))


def _own_keys(model: type[Spec]) -> tuple[str, ...]:
    return tuple(key for key in keys_of(model) if key != "name")


def _unknown_kind() -> Misfit:
    return Misfit(
        (),
        f"expected a topology (keys {', '.join(_own_keys(Topology))}), "
        f"a scenario (keys {', '.join(_own_keys(Scenario))}) "
        f"or a design (keys {', '.join(_own_keys(DesignSpec))})",
    )


def _topology_of(source: Source) -> Loaded[Topology]:
    topology, problems = _read_topology(source)
    if problems:
        raise SpecError(_in_order(problems))
    return Loaded(topology, source)


def _read_topology(source: Source) -> tuple[Topology, tuple[Problem, ...]]:
    """A topology, as far as it is valid, and its problems."""
    topology, problems = _validated(source, Topology)
    return topology, problems + _located(source, each(topology.misfits()))


def _scenario_of(source: Source, path: Path, catalogue: Catalogue) -> LoadedScenario:
    scenario, problems = _validated(source, Scenario)
    topology, topology_problems = _topology_named_in(source, path)
    sources: Mapping[str, Source] = {}
    with suppress(Invalid):
        sources, design_problems = _design_sources(source, scenario, path)
        scenario, more = _with_designs(source, scenario, sources, catalogue, path.parent)
        problems += design_problems + more
    return _whole(source, scenario, topology, catalogue, sources, problems, topology_problems)


def _whole(
    source: Source,
    scenario: Scenario,
    topology: Loaded[Topology] | None,
    catalogue: Catalogue,
    design_sources: Mapping[str, Source],
    problems: tuple[Problem, ...],
    topology_problems: tuple[Problem, ...],
) -> LoadedScenario:
    """The scenario with its cells, if these checks find no problems and none were found before."""
    problems += _located(source, scenario.misfits(topology.value if topology else None, catalogue))
    made: tuple[Cell, ...] = ()
    if topology is not None:
        with suppress(Invalid):
            made, misfits = cells(source, scenario, topology.source, topology.value, catalogue, design_sources)
            problems += _located(source, misfits)
            if all(_OF_PODS.fullmatch(problem.where) for problem in topology_problems):
                problems += tuple(unfit_problems(source, scenario, made, topology.source, catalogue, design_sources))
    if problems or topology_problems or topology is None:
        raise SpecError(_in_order(problems + topology_problems, source.file))
    return LoadedScenario(scenario, source, topology, made, design_sources)


def scenario_of_texts(
    scenario: tuple[str, str],
    topology: tuple[str, str],
    catalogue: Catalogue,
    designs: Mapping[str, str] | None = None,
    networks: Mapping[str, Mapping[str, Any]] | None = None,
) -> LoadedScenario:
    """A scenario from the texts of its file and its topology's file, as a run keeps them.

    `scenario` and `topology` are pairs of text and file name. `designs` are the texts of design files, by their name in
    the scenario; `networks` the designs with CNI plugins, read before, by their index in the list.
    """
    source, loaded_topology = parse(*scenario), _topology_of(parse(*topology))
    sources = {file: parse(text, file) for file, text in (designs or {}).items()}
    value, problems = _validated(source, Scenario)
    with suppress(Invalid):
        read = {int(number): ReadCni.of_data(data) for number, data in (networks or {}).items()}
        value, more = _with_designs(source, value, sources, catalogue, read)
        problems += more
    return _whole(source, value, loaded_topology, catalogue, sources, problems, ())


def load_design(path: Path, catalogue: Catalogue) -> DesignSpec | ReadCni:
    """The design in a file, or of a CNI network configuration. Raises SpecError with every problem."""
    if _is_network_file(path):
        return _network_alone(path, catalogue)
    spec, problems = _design_in(read_source(path), catalogue, path.parent)
    if spec is None or problems:
        raise SpecError(_in_order(problems))
    return spec


def _network_alone(path: Path, catalogue: Catalogue) -> ReadCni:
    """A CNI network configuration as a design."""
    network = catalogue.read_network(path)
    transport = TransportSpec(kind=network.transport)
    return ReadCni(name=network.name, cni=str(path), bin=(PLUGINS,), texts=network.texts, transport=transport)


def _is_network_file(path: Path) -> bool:
    """Whether a file has a CNI network configuration, by its name; a .json file may also be one of the others."""
    if path.suffix == ".json":
        with suppress(SpecError):
            source = read_source(path)
            if isinstance(source.data, dict) and not source.data.keys() & {"cniVersion", "plugins", "type"}:
                return _kind(source) is None
    return is_network(str(path)) or path.is_dir() or _is_manifest(path)


def _names_network(choice: str, folder: Path) -> bool:
    return is_network(choice) or _is_manifest(_normalized(folder / choice))


def _is_manifest(path: Path) -> bool:
    """Whether a YAML file has a Kubernetes object, such as a NetworkAttachmentDefinition."""
    if not is_file(str(path)):
        return False
    try:
        text = read_text(path)
    except Unreadable:
        return False
    return all(re.search(rf"^{key}:", text, re.MULTILINE) for key in ("apiVersion", "kind"))


def _design_in(
    source: Source, catalogue: Catalogue, folder: Path | None
) -> tuple[DesignSpec | ReadCni | None, tuple[Problem, ...]]:
    """The design in a file; its paths are relative to `folder`. A CNI design is not read without `folder`."""
    if not isinstance(source.data, dict) or "cni" not in source.data:
        spec, problems = _validated(source, DesignSpec)
        return spec, problems + _located(source, each(spec.misfits(catalogue)))
    written, problems = _validated(source, CniSpec)
    problems += _located(source, each(written.misfits(catalogue)))
    if folder is None:
        return None, problems
    try:
        read, more = _with_network(source, ("cni",), written, catalogue, folder)
    except Invalid:
        return None, problems
    return read, problems + more


def _with_network(
    source: Source, loc: Loc, spec: CniSpec, catalogue: Catalogue, folder: Path
) -> tuple[ReadCni | None, tuple[Problem, ...]]:
    """A design with CNI plugins and its configuration, named at `loc` in a file of that folder."""
    path = _normalized(folder / spec.cni)
    try:
        network = catalogue.read_network(path)
    except SpecError as error:
        return None, tuple(
            _at_file_name(source, loc, spec.cni, path, problem) if problem.line == 0 else problem
            for problem in error.problems
        )
    found = spec.model_dump(exclude={"name", "bin", "cni"})
    if "transport" not in spec.model_fields_set:
        found["transport"] = TransportSpec(kind=network.transport)
    # Absolute, as plugins may be called with another working directory.
    folders = tuple(str(_normalized(folder / each).absolute()) for each in spec.bin)
    fields = found | {"name": spec.name or network.name, "bin": folders, "cni": spec.cni, "texts": network.texts}
    return ReadCni.model_validate(fields), _located(source, _undeclared(spec, network, loc[:-1]))


def _undeclared(spec: CniSpec, network: NetworkTexts, loc: Loc) -> Iterator[Misfit]:
    """Capabilities that no plugin of the network declares; `loc` is the location of the design."""
    given: list[tuple[Loc, Mapping[str, Any]]] = [(("capabilities",), spec.capabilities)]
    given += [(("pods", pod), own) for pod, own in spec.pods.items()]
    for where, capabilities in given:
        for name in capabilities:
            if name not in network.capabilities:
                message = f"no plugin of network {network.name} declares the capability '{name}'"
                yield Misfit((*loc, *where, name), message, valid=network.capabilities, at_key=True)


def _design_sources(source: Source, scenario: Scenario, path: Path) -> tuple[Mapping[str, Source], tuple[Problem, ...]]:
    """Readable design files of a scenario, and the problems of the others."""
    found: dict[str, Source] = {}
    problems: tuple[Problem, ...] = ()
    for index, choice in enumerate(scenario.designs):
        file = _normalized(path.parent / choice) if isinstance(choice, str) and is_file(choice) else None
        if isinstance(choice, str) and file and not _is_manifest(file):
            try:
                found[choice] = read_source(file)
            except SpecError as error:
                problems += tuple(
                    _at_file_name(source, ("designs", index), choice, file, problem) if problem.line == 0 else problem
                    for problem in error.problems
                )
    return found, problems


def _with_designs(
    source: Source,
    scenario: Scenario,
    sources: Mapping[str, Source],
    catalogue: Catalogue,
    folder_or_networks: Path | Mapping[int, ReadCni],
) -> tuple[Scenario, tuple[Problem, ...]]:
    """The scenario with file names replaced by the designs in the files.

    `folder_or_networks` is the scenario's folder, or the CNI designs read before, by their index in the list.
    """
    problems: tuple[Problem, ...] = ()
    choices: list[Choice] = []
    for number, choice in enumerate(scenario.designs):
        spec: DesignSpec | ReadCni | None = None
        more: tuple[Problem, ...] = ()
        if not isinstance(folder_or_networks, Path) and number in folder_or_networks:
            spec = folder_or_networks[number]
        elif isinstance(choice, str) and choice in sources:
            folder = _normalized(folder_or_networks / choice).parent if isinstance(folder_or_networks, Path) else None
            spec, more = _design_in(sources[choice], catalogue, folder)
        elif isinstance(folder_or_networks, Path) and isinstance(choice, CniSpec):
            with suppress(Invalid):
                spec, more = _with_network(source, ("designs", number, "cni"), choice, catalogue, folder_or_networks)
        elif (
            isinstance(folder_or_networks, Path)
            and isinstance(choice, str)
            and _names_network(choice, folder_or_networks)
        ):
            spec, more = _with_network(source, ("designs", number), CniSpec(cni=choice), catalogue, folder_or_networks)
        problems += more
        choices.append(choice if spec is None or more else spec)
    return scenario.model_copy(update={"designs": tuple(choices)}), problems


def _topology_named_in(source: Source, path: Path) -> tuple[Loaded[Topology] | None, tuple[Problem, ...]]:
    """The topology of a scenario, as far as it is valid, and its problems."""
    name = source.data.get("topology") if isinstance(source.data, dict) else None
    if not isinstance(name, str):
        return None, ()  # Reported by the check of the scenario itself.
    file = _normalized(path.parent / name)
    try:
        found = read_source(file)
    except SpecError as error:
        return None, tuple(
            _at_file_name(source, ("topology",), name, file, problem) if problem.line == 0 else problem
            for problem in error.problems
        )
    if _kind(found) is Scenario:
        return None, (_at_file_name(source, ("topology",), name, file, _a_scenario(found)),)
    topology, problems = _read_topology(found)
    return Loaded(topology, found), problems


def _at_file_name(source: Source, loc: Loc, name: str, file: Path, problem: Problem) -> Problem:
    """A problem of a whole file, reported at the file's name in the scenario."""
    near = nearest_file(file)
    located = source.problem(Misfit(loc, f"{file}: {problem.message}"))
    return located if near in ("", file.name) else replace(located, nearest=str(Path(name).parent / near))


def _normalized(path: Path) -> Path:
    """`scenarios/../topologies/a.yaml` as `topologies/a.yaml`, unless these differ because of a symbolic link."""
    tidy = Path(os.path.normpath(path))
    try:
        same = tidy.samefile(path)
    except (OSError, ValueError):
        same = not os.path.exists(path)  # noqa: PTH110 - Path.exists raises for some names
    return tidy if same else path


def _validated(source: Source, model: type[SpecT]) -> tuple[SpecT, tuple[Problem, ...]]:
    """The file's value, as far as it is valid, and the problems in its syntax, keys and values."""
    value, misfits = read(model, source)
    return value, source.problems + _located(source, misfits)


def _located(source: Source, misfits: Iterable[Misfit]) -> tuple[Problem, ...]:
    remaining = iter(misfits)
    problems = tuple(source.problem(misfit) for misfit in islice(remaining, MAX_PROBLEMS))
    more = next(remaining, None) is not None
    return (*problems, Problem(source.file, 0, 0, "more problems follow; fix these first")) if more else problems


def _in_order(problems: tuple[Problem, ...], first: str = "") -> tuple[Problem, ...]:
    """Sorted by location, file `first` before others; problems of a whole file are last."""
    return tuple(
        sorted(
            dict.fromkeys(problems),
            key=lambda problem: (problem.file != first, problem.line == 0, problem.line, problem.column),
        )
    )
