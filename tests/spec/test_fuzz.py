"""Any file is either understood or refused with a location; no other exception is raised."""

import random
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from testbed.designs import CATALOGUE, DESIGNS
from testbed.designs.fitting import check_design
from testbed.spec.load import load_scenario, load_topology, topology_of_text
from testbed.spec.problems import SpecError
from testbed.spec.render import render_all

ROOT = Path(__file__).parent.parent.parent
TOPOLOGIES = [path.read_text() for path in sorted((ROOT / "topologies").glob("*.yaml"))]
SCENARIOS = [path.read_text() for path in sorted((ROOT / "scenarios").glob("*.yaml"))]
KEYS = sorted(set(re.findall(r"[a-z_]+(?=:)", "".join((*TOPOLOGIES, *SCENARIOS)))))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["10.244.0.0/16", "fd00::/48", "10.0.0.1", "1 Gbit/s", "10s", "vxlan", "l2", "node1", "auto", "on"]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | SCALARS, inner, max_size=5),
    max_leaves=25,
)


def understood_or_refused(text: str, folder: Path, kind: str) -> None:
    """Read the file as the program does, and plan it if it is a topology."""
    file = folder / "fuzzed.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        if kind == "topology":
            loaded = load_topology(file)
            small = loaded.value.pods_per_node < 50 and len(loaded.value.nodes) < 50
            for design in DESIGNS.values():
                if small and next(design.misfits(loaded.value), None) is None:
                    design.plan(loaded.value)
            for design in DESIGNS.values():
                check_design(design, loaded)
        else:
            load_scenario(file, CATALOGUE)
    except SpecError as error:
        assert error.problems
        text = render_all(error.problems)
        assert str(file) in text


def mutated(text: str, seed: int) -> str:
    """The text with some words and lines changed, moved, duplicated or cut."""
    chance = random.Random(seed)
    for _ in range(chance.randrange(1, 5)):
        place = chance.randrange(len(text) + 1)
        match chance.randrange(7):
            case 0:
                text = text[:place]
            case 1:
                text = text[:place] + chance.choice("{}[]:,&*!|>'\"%@`#-\t\0é\u202e\ufeff\ud800") + text[place:]
            case 2:
                lines = text.splitlines(keepends=True)
                chance.shuffle(lines)
                text = "".join(lines)
            case 3:
                text = text + text[place:]
            case 4:
                text = re.sub(r"\d+", lambda _: str(chance.choice([0, -1, 10**30, 65536, "1e9"])), text, count=2)
            case 5:
                text = text.replace(chance.choice(KEYS), chance.choice(KEYS), 1)
            case _:
                text = text[:place] + " " * chance.randrange(4) + text[place:]
    return text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.parametrize("kind", ["topology", "scenario"])
@given(value=VALUES)
@settings(max_examples=150, deadline=None)
def test_any_yaml(kind: str, value: object, folder: Path) -> None:
    understood_or_refused(yaml.safe_dump(value, allow_unicode=True), folder, kind)


@pytest.mark.parametrize("kind", ["topology", "scenario"])
@given(number=st.integers(0, 100), seed=st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_mutated_valid_files(kind: str, number: int, seed: int, folder: Path) -> None:
    texts = TOPOLOGIES if kind == "topology" else SCENARIOS
    understood_or_refused(mutated(texts[number % len(texts)], seed), folder, kind)


@pytest.mark.parametrize("kind", ["topology", "scenario"])
@given(data=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(data=b"\xff\xfe\x00")
@example(data=b"a: &a [*a]")
@settings(max_examples=200, deadline=None)
def test_any_bytes(kind: str, data: bytes, folder: Path) -> None:
    file = folder / "bytes.yaml"
    file.write_bytes(data)
    with pytest.raises(SpecError) as error:
        load_topology(file) if kind == "topology" else load_scenario(file, CATALOGUE)
    assert str(file) in render_all(error.value.problems)


@given(
    nodes=st.integers(-2, 300),
    pods=st.integers(-2, 400),
    prefix=st.integers(0, 32),
    length=st.integers(0, 33),
    mtu=st.integers(0, 70_000),
)
@settings(max_examples=60, deadline=None)
def test_any_numbers(nodes: int, pods: int, prefix: int, length: int, mtu: int) -> None:
    text = (
        f"name: fuzzed\ncluster: {{pod_cidr: 10.244.0.0/{length}, node_prefix: {prefix}}}\n"
        f"fabric: {{subnet: 192.168.0.0/16, mtu: {mtu}}}\nnodes: {nodes}\npods_per_node: {pods}\n"
    )
    try:
        loaded = topology_of_text(text, "fuzzed.yaml")
    except SpecError as error:
        assert all(problem.line for problem in error.problems)
    else:
        assert len(loaded.value.nodes) == nodes
