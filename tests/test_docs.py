"""README.md and docs/ are true: examples work, links lead somewhere, reference pages say what the code says."""

import contextlib
import json
import re
import shlex
from pathlib import Path

import click
import pytest

from testbed.designs import DESIGNS, pairs
from tests import matrix, measured
from tests.pages import (
    FENCE,
    LEFT,
    PAGES,
    ROOT,
    anchors,
    blocks,
    commands,
    left,
    links,
    matches,
    parsed,
    reader,
    text_of,
)
from tests.reference import FOLDER, REFERENCE

WRITTEN = tuple(page for page in PAGES if not page.startswith("docs/reference/"))
LANGUAGES = {"console", "sh", "python", "yaml", "diff", "text"}
FIRST_SCREEN, LONGEST = 40, 150
"""Lines of README."""
INLINE = re.compile(r"`testbed ([a-z][^`]*)`")


def _needs(page: str) -> set[str]:
    """The kernel features that the designs in a page's examples need."""
    words = {word for block in blocks(page) for word in re.findall(r"[a-z0-9+-]+", block.text)}
    return {feature for word in words & DESIGNS.keys() for feature in DESIGNS[word].needs}


@pytest.mark.sealed
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=pytest.mark.needs(*sorted(_needs(page))))
        for page in WRITTEN
        if any(block.language != "text" for block in blocks(page))
    ],
)
def test_a_page_does_what_it_says(page: str) -> None:
    with reader() as one:
        one.read(page)


@pytest.mark.parametrize("page", WRITTEN)
def test_every_block_is_of_a_language_that_is_tested(page: str) -> None:
    assert {block.language for block in blocks(page)} <= LANGUAGES


def test_what_is_left_out_is_in_some_page_and_says_why() -> None:
    typed = [
        command.text
        for page in WRITTEN
        for block in blocks(page)
        if block.language in ("console", "sh")
        for command in commands(block)
    ]
    found = [one[0] for one in map(left, typed) if one]
    assert [start for start, one in LEFT.items() if one not in found or not one.reason] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    missing = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists() or (anchor and anchor not in anchors(str(target.resolve().relative_to(ROOT)))):
            missing.append(link)
    assert missing == []


@pytest.mark.parametrize("page", WRITTEN)
def test_the_program_takes_what_is_named_in_a_sentence(page: str, repository: Path) -> None:
    """Its verbs and options; a sentence may leave out arguments, and name files that are not there."""
    for said in INLINE.findall(FENCE.sub("", text_of(page))):
        words = shlex.split(re.split(r"[|>]", said.replace("\\|", "|"))[0])
        with contextlib.suppress(click.MissingParameter, click.BadParameter):
            parsed(repository, words)


@pytest.mark.parametrize("name", REFERENCE)
def test_a_reference_page_is_that_of_the_code(name: str) -> None:
    assert (FOLDER / name).read_text() == REFERENCE[name](), "`python -m tests.reference` writes it anew"


def test_there_is_no_other_reference_page() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(REFERENCE)


def test_every_page_is_linked_from_readme() -> None:
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in links("README.md")}
    assert [page for page in PAGES[1:] if ROOT / page not in linked] == []


def test_readme_is_short_and_begins_with_its_two_commands() -> None:
    lines = text_of("README.md").splitlines()
    assert len(lines) < LONGEST
    first = "\n".join(lines[:FIRST_SCREEN])
    assert "./setup.sh && .venv/bin/python -m testbed run scenarios/compare-designs.yaml" in first
    assert "./setup.sh && .venv/bin/python -m pytest" in first


def test_the_table_of_designs_is_that_of_the_results() -> None:
    results = json.loads(matrix.RESULTS.read_text())
    text = matrix.PAGE.read_text()
    assert text.split(matrix.BEGIN)[1].split(matrix.END)[0] == matrix.table(results)


def test_every_pair_was_proven_somewhere_in_every_family() -> None:
    results = json.loads(matrix.RESULTS.read_text())
    assert set(results["pairs"]) == set(pairs())
    for pair, cases in results["pairs"].items():
        assert set(matrix.FAMILIES.values()) <= set(cases), pair
        assert "failed" not in cases.values(), pair


@pytest.mark.parametrize("name", measured.TABLES)
def test_the_figures_are_those_of_the_results(name: str) -> None:
    found = measured.block(name).search(text_of(measured.TABLES[name][0]))
    assert found
    assert found[2] == measured.table(name), "`python -m tests.measured` writes it anew"


@pytest.mark.parametrize(
    ("shown", "output", "is_so"),
    [
        ("a ... c\n", "a b c\n", True),
        ("...\nb\n", "1\n2\nb\n", True),
        ("a   b\n", "a b \n", True),
        ("a\n", "a\nb\n", False),
        ("(1 of 2) [x]*\n", "(1 of 2) [x]*\n", True),
    ],
)
def test_shown_output_matches(shown: str, output: str, is_so: bool) -> None:
    assert matches(shown, output) is is_so


def test_a_page_is_read_as_its_reader_does(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(
        "Save this as `a.sh`:\n\n```sh\n#!/bin/sh\n```\n\n"
        "```console\n$ one \\\n    two      # exit code 2\nout\n$ three\n```\n\n```sh\nfour   # why\n\n# five\n```\n"
    )
    found = list(blocks(str(file)))
    assert [(block.language, block.file, block.line) for block in found] == [
        ("sh", "a.sh", 3),
        ("console", "", 7),
        ("sh", "", 14),
    ]
    typed = [(command.text, command.shown, command.code) for block in found[1:] for command in commands(block)]
    assert typed == [("one two", "out\n", 2), ("three", "", 0), ("four   # why", "", 0)]
