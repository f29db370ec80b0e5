"""Manifests as texts: files, folders, standard input, and those that a topology names."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from testbed.spec.files import Unreadable, manifest_files, nearest_file, read_text
from testbed.spec.load import Loaded
from testbed.spec.problems import Misfit, Problem, SpecError, item
from testbed.spec.topology import Topology


@dataclass(frozen=True)
class Texts:
    """Manifests as file names and texts, and files of folders that have no objects."""

    texts: tuple[tuple[str, str], ...]
    skipped: tuple[str, ...]


def texts_of(paths: Iterable[Path]) -> Texts:
    """The manifests in files and folders. Raises SpecError for all that cannot be read."""
    from testbed.kubernetes.dialect import MAX_BYTES, is_manifest

    texts: list[tuple[str, str]] = []
    skipped: list[str] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            if str(path) == "-":
                texts.append(("standard input", sys.stdin.read(MAX_BYTES)))
                continue
            for file in manifest_files(path):
                text = read_text(file, MAX_BYTES)
                if file != path and not is_manifest(text):
                    skipped.append(str(file))
                else:
                    texts.append((str(file), text))
        except Unreadable as error:
            problems.append(Problem(str(path), error.line, error.column, error.message, nearest=nearest_file(path)))
    if problems:
        raise SpecError(tuple(problems))
    return Texts(tuple(texts), tuple(skipped))


def texts_for(topology: Loaded[Topology], more: Iterable[Path] = ()) -> Texts:
    """The manifests that a topology names, relative to its file, and others. Raises SpecError."""
    paths = topology.value.manifests
    problems = []
    for number, path in enumerate(paths):
        if not (Path(topology.source.file).parent / path).exists():
            misfit = Misfit(item(("manifests",), number, paths), f"'{path}' not found; a path is relative to this file")
            problems.append(topology.source.problem(misfit))
    if problems:
        raise SpecError(tuple(problems))
    return texts_of([*(Path(topology.source.file).parent / path for path in paths), *more])
