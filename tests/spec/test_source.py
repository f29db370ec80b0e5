"""Reading files and YAML: any bytes give a tree with locations, or a SpecError."""

import os
import socket
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from testbed.spec.files import MAX_BYTES
from testbed.spec.problems import Misfit, Problem, SpecError
from testbed.spec.source import Source, dotted, nearest, parse, read_source
from testbed.spec.tree import MAX_DEPTH, MAX_NODES, Node, Odd, compose


def only_problem(path: Path) -> Problem:
    with pytest.raises(SpecError) as caught:
        read_source(path)
    (problem,) = caught.value.problems
    return problem


def only_problem_of(text: str) -> Problem:
    with pytest.raises(SpecError) as caught:
        parse(text, "a.yaml")
    (problem,) = caught.value.problems
    return problem


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a.yaml"


def test_missing_file(file: Path) -> None:
    assert only_problem(file).message == "file not found"


def test_directory(tmp_path: Path) -> None:
    assert "a directory" in only_problem(tmp_path).message


def test_pipe_does_not_block(file: Path) -> None:
    os.mkfifo(file)
    assert "a pipe" in only_problem(file).message


def test_device_is_not_read() -> None:
    assert "a device" in only_problem(Path("/dev/zero")).message


def test_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # The path of a socket must be short.
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("a.yaml")
        assert "a socket" in only_problem(Path("a.yaml")).message


def test_unreadable(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated, as root can read every file."""
    file.write_text("a: 1")

    def refuse(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "open", refuse)
    assert only_problem(file).message == "permission denied"


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "n" * 5000, "loop/a"])
def test_unusable_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert only_problem(tmp_path / name).line == 0


def test_size_limit(file: Path) -> None:
    file.write_bytes(b"#" * MAX_BYTES)
    assert "only comments" in only_problem(file).message
    file.write_bytes(b"#" * (MAX_BYTES + 1))
    assert "larger than 1 MiB" in only_problem(file).message


def test_binary(file: Path) -> None:
    file.write_bytes(b"\x7fELF\0\0")
    assert "binary" in only_problem(file).message


def test_utf_16(file: Path) -> None:
    file.write_text("a: 1", encoding="utf-16")
    assert "UTF-16" in only_problem(file).message


def test_invalid_utf_8_has_a_location(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: \xe4\n")
    problem = only_problem(file)
    assert (problem.line, problem.column) == (2, 4)
    assert "0xe4" in problem.message


def test_byte_order_mark_is_ignored(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbfa: 1\n")
    source = read_source(file)
    assert source.data == {"a": 1}
    assert source.problem(Misfit(("a",), "", at_key=True)).column == 1


def test_values() -> None:
    text = "{a: 1, b: -2, c: 1.5, d: yes, e: ~, f: 'no', g: [x], h: {}, i: 1:30, j: 0x1F, k: 010, l: 2020-01-01}"
    assert parse(text, "").data == {
        "a": 1,
        "b": -2,
        "c": 1.5,
        "d": True,
        "e": None,
        "f": "no",
        "g": ["x"],
        "h": {},
        **{key: Odd(text) for key, text in zip("ijkl", ("1:30", "0x1F", "010", "2020-01-01"), strict=True)},
    }


def test_number_of_very_many_digits() -> None:
    assert parse("a: " + "9" * 5000, "").data == {"a": Odd("9" * 5000)}


def test_alias_has_the_location_where_it_is_written() -> None:
    source = parse("a: &x [1, 2]\nb: *x\n", "")
    assert source.data == {"a": [1, 2], "b": [1, 2]}
    assert source.problem(Misfit(("b",), "")).line == 2
    assert source.problem(Misfit(("b", 1), "")).line == 1


def test_nested_brackets_cost_nothing() -> None:
    assert f"more than {MAX_DEPTH} levels" in only_problem_of("[" * 100_000).message


def test_depth_counts_aliases() -> None:
    half = "[" * 30 + "]" * 30
    assert f"more than {MAX_DEPTH} levels" in only_problem_of(f"a: &a {half}\nb: {'[' * 30}*a{']' * 30}\n").message


def test_wide_document() -> None:
    assert f"more than {MAX_NODES}" in only_problem_of("[" + "a," * MAX_NODES + "a]").message


def test_problem_at_nearest_key_above() -> None:
    source = parse("a:\n  b: {c: 1}\n", "")
    problem = source.problem(Misfit(("a", "b", "d"), ""))
    assert (problem.line, problem.column, problem.width, problem.where) == (2, 3, 1, "a.b.d")


def test_path_into_a_single_item_leads_to_the_item() -> None:
    problem = parse("a: 10\n", "").problem(Misfit(("a", 0), ""))
    assert (problem.column, problem.width, problem.where) == (4, 2, "a")


def test_lines_are_counted_as_editors_do() -> None:
    source = parse("a: 1\r\nb: 2\r\rc: 3\n", "")
    assert [source.problem(Misfit((key,), "")).line for key in "abc"] == [1, 2, 4]


def test_dotted() -> None:
    assert dotted(("nodes", "a.b", "pods", 0)) == "nodes.'a.b'.pods[0]"


def test_nearest() -> None:
    assert nearest("MTU", ("subnet", "mtu")) == "mtu"
    assert nearest("colour", ("subnet", "mtu")) == ""
    assert nearest("x" * 1_000_000, ("x" * 10,)) == ""


NAMES = ("rack1", "rack2", "l3-host-routes", "l3-gateway", "client", "web-1", "web-2", "calico-bgp", "calico-bgp-rr")


@pytest.mark.parametrize(
    ("found", "meant"),
    [
        ("rack9", ""),  # another number is another name
        ("rack", ""),  # several are equally near
        ("web-3", ""),
        ("web1", "web-1"),
        ("rakc2", "rack2"),
        ("Client", "client"),
        ("clinet", "client"),
        ("l3-hostroutes", "l3-host-routes"),
        ("host-routes", "l3-host-routes"),
        ("l4-gateway", ""),
        ("calico", ""),
        ("calico-bpg", "calico-bgp"),
        ("server", ""),
        ("c", ""),
        ("", ""),
    ],
)
def test_guesses_only_when_near(found: str, meant: str) -> None:
    assert nearest(found, NAMES) == meant


def test_a_guess_among_many_names_takes_no_time() -> None:
    names = tuple(f"node{node}-pod-{pod}" for node in range(100) for pod in range(100))
    started = time.monotonic()
    for found in ("node7-pdo-7", "nodes-pod-77777", "client", "web-with-a-long-name"):
        nearest(found, names)
    assert time.monotonic() - started < 4


@given(st.text())
def test_any_text_gives_a_tree_or_a_problem(text: str) -> None:
    try:
        source = parse(text, "a.yaml")
    except SpecError as error:
        assert error.problems
    else:
        assert isinstance(source, Source)


YAML_LIKE = st.text(st.sampled_from("ab1:-,[]{}&*!|>'\"%@`#?<~ .\t\n\\xuU/=_é\u2028"), max_size=60)


@given(YAML_LIKE)
def test_any_mixture_of_indicators_gives_a_tree_or_a_problem(text: str) -> None:
    try:
        parse(text, "a.yaml")
    except SpecError as error:
        assert all(problem.message for problem in error.problems)


@given(st.binary())
def test_any_bytes_give_a_tree_or_a_problem(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_bytes(data)
    try:
        read_source(file)
    except SpecError as error:
        assert error.problems


WORDS = st.text("abcxyz-", min_size=1, max_size=8).map(lambda word: f"w{word}")
DOCUMENTS = st.recursive(
    WORDS | st.integers(0, 10**6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(WORDS, DOCUMENTS, min_size=1), st.booleans() | st.none())
def test_locations_point_at_their_tokens(document: dict[str, object], flow: bool | None) -> None:
    source = parse(yaml.safe_dump(document, default_flow_style=flow), "a.yaml")
    assert source.data == document

    def check(node: Node, loc: tuple[str | int, ...]) -> None:
        if not node.children:
            problem = source.problem(Misfit(loc, ""))
            line = source.text.split("\n")[problem.line - 1]
            token = str(node.data) if isinstance(node.data, str | int) else line[problem.column - 1]
            assert line[problem.column - 1 :].startswith(token)
            assert problem.width == len(token)
        for step, child in node.children.items():
            check(child, (*loc, step))
            if isinstance(step, str):
                problem = source.problem(Misfit((*loc, step), "", at_key=True))
                assert problem.found == step
                assert problem.excerpt[problem.column - 1 :].startswith(step)

    check(source.root, ())


def test_lenient_reading_merges_mappings_below_their_own_keys() -> None:
    text = "base: &base {a: 1, b: 1}\nmore: &more {b: 2, c: 2}\nall: {b: 0, <<: [*more, *base], d: 3}\n5: {<<: *base}\n"
    root, flaws = compose(text, lenient=True)
    assert flaws == ()
    assert root.children["all"].data == {"a": 1, "b": 0, "c": 2, "d": 3}
    assert root.children["5"].data == {"a": 1, "b": 1}
    _, strict = compose(text)
    assert [flaw.message.partition(" ")[0] for flaw in strict] == ["merging", "merging", "YAML"]


def test_lenient_reading_takes_the_last_of_equal_keys_and_the_first_document() -> None:
    root, flaws = compose("a: 1\na: !tag 2\n---\nb: 3\n", lenient=True)
    assert root.data == {"a": "2"}
    assert [flaw.message for flaw in flaws] == ["the first of two keys 'a', in line", "the second document"]
