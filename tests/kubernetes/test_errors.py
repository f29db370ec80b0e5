"""The exact text of every error in a manifest.

`errors/` has broken manifests, each with the expected text. After a change of wording, regenerate the texts with
`UPDATE_GOLDEN=1 pytest tests/kubernetes/test_errors.py`, then read the diff as a user.
"""

import os
from pathlib import Path

import pytest

from testbed.kubernetes.reading import MAX_PROBLEMS, read_manifests
from testbed.spec.problems import Problem, SpecError
from testbed.spec.render import render_all

ERRORS = Path(__file__).parent / "errors"
BROKEN = sorted(path for path in ERRORS.iterdir() if path.suffix != ".txt")


def problems_of(text: str, file: str = "shop.yaml") -> tuple[Problem, ...]:
    with pytest.raises(SpecError) as caught:
        read_manifests([(file, text)])
    return caught.value.problems


@pytest.mark.parametrize("broken", BROKEN, ids=lambda path: path.stem)
def test_error_text(broken: Path) -> None:
    with broken.open(newline="") as file:
        problems = problems_of(file.read(), broken.name)
    text = render_all(problems) + "\n"
    golden = broken.with_suffix(".txt")
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()
    assert all(problem.line for problem in problems)


def test_every_broken_manifest_has_its_text() -> None:
    assert {path.stem for path in ERRORS.glob("*.txt")} == {path.stem for path in BROKEN}


def test_all_mistakes_of_all_files_are_reported_in_order() -> None:
    one = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: A}\ndat: {}\n"
    other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: B}\n"
    with pytest.raises(SpecError) as caught:
        read_manifests([("b.yaml", one), ("a.yaml", other)])
    assert [(problem.file, problem.line) for problem in caught.value.problems] == [
        ("b.yaml", 3),
        ("b.yaml", 4),
        ("a.yaml", 3),
    ]


def test_problems_of_a_file_are_limited() -> None:
    text = "---\n".join(f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: A{number}}}\n" for number in range(200))
    problems = problems_of(text)
    assert len(problems) == MAX_PROBLEMS + 1
    assert problems[-1].message == "more problems follow; fix these first"


def test_duplicates_in_two_files_name_the_first_file() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
    with pytest.raises(SpecError) as caught:
        read_manifests([("a.yaml", text), ("b.yaml", text)])
    (problem,) = caught.value.problems
    assert problem.file == "b.yaml"
    assert problem.message == "duplicate ConfigMap 'a' in namespace 'default', first in a.yaml line 3"
