"""Manifests named on the command line: files, folders, standard input."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.spec.files import Unreadable, manifest_files, nearest_file, read_text
from testbed.spec.problems import Problem, SpecError

if TYPE_CHECKING:
    from testbed.kubernetes.reading import Manifests


@dataclass(frozen=True)
class Texts:
    """Manifests as file names and texts, and files of folders that have no objects."""

    texts: tuple[tuple[str, str], ...]
    skipped: tuple[str, ...]


def texts_of(paths: tuple[Path, ...]) -> Texts:
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


def left_out_lines(manifests: "Manifests", skipped: tuple[str, ...] = ()) -> Iterator[str]:
    """A line for each object of a kind that Kubernetes does not have, and for each file without objects."""
    for one in manifests.left_out:
        name = f" {one.name}" if one.name else ""
        hint = "; `testbed import` reads it" if one.api_version.startswith("kind.") else ""
        yield f"{one.file}:{one.line}: left out: {one.kind}{name} ({one.api_version}) is not a kind of Kubernetes{hint}"
    for file in skipped:
        yield f"{file}: left out: no Kubernetes objects"
