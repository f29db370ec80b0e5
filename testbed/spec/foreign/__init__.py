"""Import of other tools' files as topologies: kind cluster configurations and containerlab topologies."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from testbed.spec.foreign import containerlab, kind
from testbed.spec.foreign.imported import Imported
from testbed.spec.foreign.reading import Foreign, parse_foreign, read_foreign
from testbed.spec.problems import Misfit, SpecError
from testbed.spec.source import Source, parse
from testbed.spec.topology import Topology
from testbed.spec.wording import misfits_of

_EXPECTED = "expected a kind cluster configuration (kind: Cluster) or a containerlab topology (topology: with nodes)"


def import_file(path: Path, environment: Mapping[str, str]) -> Imported:
    """The topology in a file of another tool, with variables of the environment. Raises SpecError."""
    return _imported(read_foreign(path, environment), environment)


def imported(source: Source) -> Imported:
    """The topology in a text of another tool. Raises SpecError with every problem."""
    return _imported(parse_foreign(source.text, source.file, {}), {})


def _imported(file: Foreign, environment: Mapping[str, str]) -> Imported:
    data = file.source.data

    def read_cluster(name: str) -> Foreign:
        return read_foreign(Path(file.source.file).parent / name, environment)

    if isinstance(data, dict) and kind.is_one(data):
        return _checked(kind.read(file))
    if isinstance(data, dict) and containerlab.is_one(data):
        return _checked(containerlab.read(file, read_cluster))
    raise SpecError((file.source.problem(Misfit((), _EXPECTED)),))


def _checked(found: Imported) -> Imported:
    """The import, if its topology is valid. Raises SpecError with problems at the lines of the original."""
    made = parse(found.text("import"), "topology")
    try:
        misfits = list(Topology.model_validate(made.data, by_alias=True, by_name=False).misfits())
    except ValidationError as error:
        misfits = list(misfits_of(error, Topology, made))
    if misfits:
        raise SpecError(tuple(dict.fromkeys(found.origin(misfit.loc, misfit.message) for misfit in misfits)))
    return found


__all__ = ["Imported", "import_file", "imported"]
