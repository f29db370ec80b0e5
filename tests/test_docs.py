"""The examples in `docs/` are true: each is carried out."""

import re
import shlex
from pathlib import Path

import pytest

from tests.cli.test_cli import cli

DOCS = Path(__file__).parent.parent / "docs"
pytestmark = pytest.mark.sealed


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)


def test_a_lab_is_changed_as_the_page_has_it(repository: Path) -> None:
    (shown,) = blocks("changing-labs.md", "console")
    lines = shown.splitlines()
    assert all(line.startswith("$ sudo testbed ") for line in lines)
    for line in lines:
        done = cli(*shlex.split(line.removeprefix("$ sudo testbed ")), cwd=repository)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def test_a_lab_is_changed_from_python_as_the_page_has_it(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shown,) = blocks("changing-labs.md", "python")
    monkeypatch.chdir(repository)
    exec(compile(shown, "changing-labs.md", "exec"), {})
