"""Loading files, and the exact text of every error.

`errors/` has broken files, each with the expected text. After a change of wording, regenerate the texts with
`UPDATE_GOLDEN=1 pytest tests/spec/test_load.py`, then read the diff as a user.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from testbed.designs import CATALOGUE
from testbed.spec.load import MAX_PROBLEMS, LoadedScenario, load_any, load_scenario, load_topology
from testbed.spec.named import Named, Switch
from testbed.spec.probes import Iperf3Probe, SockperfProbe
from testbed.spec.problems import Misfit, Problem, SpecError
from testbed.spec.qualities import Link
from testbed.spec.render import render, render_all
from testbed.spec.scenario import Scenario
from testbed.spec.shapes import LeafSpine, OneSubnet, Subnets, Wan
from testbed.spec.topology import Cluster, Node, Pod, Topology
from testbed.spec.wording import keys_of

ROOT = Path(__file__).parents[2]
ERRORS = Path(__file__).parent / "errors"


@pytest.mark.parametrize("broken", sorted(ERRORS.glob("*.yaml")), ids=lambda path: path.stem)
def test_error_text(broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ERRORS)
    with pytest.raises(SpecError) as caught:
        load_any(Path(broken.name), CATALOGUE)
    text = render_all(caught.value.problems) + "\n"
    golden = broken.with_suffix(".txt")
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


SHIPPED = [*ROOT.glob("topologies/*.yaml"), *ROOT.glob("scenarios/*.yaml")]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_load(path: Path) -> None:
    loaded = load_any(path, CATALOGUE)
    assert loaded.value.name == path.stem
    assert isinstance(loaded, LoadedScenario) == (path.parent.name == "scenarios")


def test_every_broken_file_has_its_text() -> None:
    assert {path.stem for path in ERRORS.glob("*.txt")} == {path.stem for path in ERRORS.glob("*.yaml")}


def test_scenario_loads_its_topology() -> None:
    loaded = load_scenario(ROOT / "scenarios/quick.yaml", CATALOGUE)
    assert loaded.topology.value == load_topology(ROOT / "topologies/two-nodes.yaml").value
    assert Path(loaded.topology.source.file) == ROOT / "topologies/two-nodes.yaml"
    assert loaded.source.text.startswith("# yaml-language-server")


def test_later_checks_point_into_the_file() -> None:
    loaded = load_topology(ROOT / "topologies/two-nodes.yaml")
    problem = loaded.source.problem(Misfit(("fabric", "mtu"), "too small for vxlan"))
    assert problem.excerpt.strip() == "mtu: 1500"
    assert problem.found == "1500"


def test_topology_path_of_a_scenario_behind_a_symbolic_link(tmp_path: Path) -> None:
    """`link/../topologies` is relative to the link's target, not to the link."""
    (tmp_path / "link").symlink_to(ROOT / "scenarios")
    loaded = load_scenario(tmp_path / "link/quick.yaml", CATALOGUE)
    assert Path(loaded.topology.source.file).samefile(ROOT / "topologies/two-nodes.yaml")


@pytest.mark.parametrize(
    ("load", "path", "message"),
    [
        (lambda path: load_topology(path), "scenarios/quick.yaml", "expected a topology"),
        (lambda path: load_scenario(path, CATALOGUE), "topologies/two-nodes.yaml", "expected a scenario"),
    ],
)
def test_wrong_kind_of_file(load: Callable[[Path], object], path: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        load(ROOT / path)


def test_reported_problems_are_limited(tmp_path: Path) -> None:
    file = tmp_path / "many.yaml"
    file.write_text("nodes:\n" + "".join(f"  N{index}: 1\n" for index in range(5000)))
    with pytest.raises(SpecError) as caught:
        load_topology(file)
    assert len(caught.value.problems) == MAX_PROBLEMS + 1
    assert "more problems" in caught.value.problems[-1].message


@pytest.mark.parametrize("name", ['"a\\0b"', '"\\uD800"', "x" * 5000, "'~'", "/dev/null", "''"])
def test_unusable_topology_name_of_a_scenario(tmp_path: Path, name: str) -> None:
    file = tmp_path / "scenario.yaml"
    file.write_text(f"topology: {name}\ndesigns: [l2]\n")
    with pytest.raises(SpecError) as caught:
        load_scenario(file, CATALOGUE)
    assert any(problem.where == "topology" for problem in caught.value.problems)
    assert render_all(caught.value.problems).isascii()


def test_text_is_ascii_and_marks_the_column() -> None:
    problem = Problem("a\x1b.yaml", 1, 7, "m\u202e", excerpt="\tä\x9b[: yes", width=3)
    assert render(problem).split("\n") == [
        r"a\x1b.yaml:1:7: m\u202e",
        r"    1 |  \xe4\x9b[: yes",
        r"      |             ^~~",
    ]


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates()
MODELS = (
    Topology,
    Cluster,
    OneSubnet,
    Subnets,
    LeafSpine,
    Wan,
    Named,
    Switch,
    Link,
    Node,
    Pod,
    Scenario,
    SockperfProbe,
    Iperf3Probe,
)
KEYS = st.sampled_from([*(key for model in MODELS for key in keys_of(model)), "from", "to", "sockperf", "[key]"])
VALUES = PLAIN | st.sampled_from(["sockperf", "iperf3", "2s", "64B", "10.0.0.0/8", "fd00::/48", 24, "client"])
DOCUMENTS = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | PLAIN, inner, max_size=5),
    max_leaves=30,
)


@given(DOCUMENTS, st.booleans())
def test_any_document_loads_or_has_problems(
    tmp_path_factory: pytest.TempPathFactory, document: object, as_scenario: bool
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8", errors="surrogatepass")
    for load in (load_any, load_scenario, lambda path, _: load_topology(path)):
        try:
            load(file, CATALOGUE)
        except SpecError as error:
            text = render_all(error.problems)
            assert text and text.replace("\n", "").isprintable() and text.isascii()


@given(st.binary())
def test_any_bytes_load_or_have_problems(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any-bytes.yaml"
    file.write_bytes(data)
    with pytest.raises(SpecError):
        load_any(file, CATALOGUE)


NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,9}[a-z0-9])?", fullmatch=True).map(lambda name: f"x{name}")


@st.composite
def topologies(draw: st.DrawFn) -> dict[str, object]:
    names = draw(st.lists(NAMES, unique=True, min_size=1, max_size=12))
    count = draw(st.integers(1, len(names)))
    nodes: dict[str, dict[str, object]] = {name: {} for name in names[:count]}
    for pod in names[count:]:
        nodes[draw(st.sampled_from(names[:count]))].setdefault("pods", []).append(pod)  # type: ignore[attr-defined]
    second = draw(st.integers(0, 255))
    both = draw(st.booleans())
    return {
        "name": draw(NAMES),
        "cluster": {
            "pod_cidr": [f"10.{second}.0.0/16", f"fd00:{second}::/48"] if both else f"10.{second}.0.0/16",
            "node_prefix": [24, 64] if both else draw(st.integers(20, 26)),
        },
        "fabric": {"subnet": f"192.168.{second}.0/24", "mtu": draw(st.integers(1280, 9000))},
        "nodes": nodes,
    }


@given(topologies())
def test_any_valid_topology_loads(tmp_path_factory: pytest.TempPathFactory, document: dict[str, object]) -> None:
    file = tmp_path_factory.getbasetemp() / "valid.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    topology = load_topology(file).value
    assert list(topology.nodes) == list(document["nodes"])  # type: ignore[call-overload]


def test_an_error_in_a_file_is_printed_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text("name: lab\nnods: {}\n")
    with pytest.raises(SpecError) as error:
        load_topology(file)
    assert f"{file}:2:1: nods: unknown key 'nods'" in str(error.value)
