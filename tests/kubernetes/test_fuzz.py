"""Any text is either understood or refused with a location; what is understood can be applied, run and printed."""

import copy
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from testbed.kubernetes.applying import apply
from testbed.kubernetes.cluster import new_cluster
from testbed.kubernetes.printing import FORMS, printed
from testbed.kubernetes.reading import read_manifests
from testbed.kubernetes.workloads import run, step
from testbed.spec.problems import SpecError
from testbed.spec.render import render_all
from tests.kubernetes.clusters import nodes

FOLDER = Path(__file__).parent
TEXTS = [
    path.read_text()
    for path in (*sorted(FOLDER.glob("manifests/*.yaml")), FOLDER.parents[1] / "examples/manifests/shop.yaml")
]
BROKEN = [path.read_text() for path in sorted(FOLDER.glob("errors/*.yaml"))]
KEYS = sorted(set(re.findall(r"[a-zA-Z]+(?=:)", "".join((*TEXTS, *BROKEN)))))
ODD = [None, True, 0, -1, 1.5, 10**40, "", "a", "A_b", "25%", "10.0.0.0/8", "é", [], {}, [None], {"a": None}, [[]]]
MAX_PODS = 300


def understood_or_refused(text: str, file: str = "fuzzed.yaml") -> bool:
    """Read a text; if it is valid, apply it, run the controllers and print everything."""
    try:
        manifests = read_manifests([(file, text)])
        state = apply(new_cluster(nodes(2, zones=2)), manifests).state
    except SpecError as error:
        assert error.problems
        assert file in render_all(error.problems)
        return False
    counts = [getattr(getattr(one.typed, "spec", None), "replicas", 1) for one in manifests.objects]
    if sum(counts) < MAX_PODS:
        for _ in range(3):
            state = run(step(state))
        for form in ("", *FORMS):
            printed(state, state, form, with_namespace=True)
    return True


def places(data: Any) -> Iterator[Callable[[Any], None]]:
    """A function for each value in a document, which replaces it."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield lambda new, key=key: data.__setitem__(key, new)  # type: ignore[misc]
        yield from places(value)


def mutated(text: str, chance: random.Random) -> str:
    """The text with some characters, words and lines changed, moved, duplicated or cut."""
    for _ in range(chance.randrange(1, 5)):
        place = chance.randrange(len(text) + 1)
        match chance.randrange(6):
            case 0:
                text = text[:place]
            case 1:
                text = text[:place] + chance.choice("{}[]:,&*!|>'\"%@`#-\t\0é\u202e\ufeff\ud800") + text[place:]
            case 2:
                lines = text.splitlines(keepends=True)
                at = chance.randrange(len(lines) + 1)
                text = "".join(lines[:at] + lines[at + 1 :])
            case 3:
                text = text + text[place:]
            case 4:
                text = re.sub(r"\d+", lambda _: str(chance.choice([0, -1, 10**30, 65536, "1e9"])), text, count=2)
            case _:
                text = text.replace(chance.choice(KEYS), chance.choice(KEYS), 1)
    return text


@given(seed=st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_mutated_texts(seed: int) -> None:
    chance = random.Random(seed)
    understood_or_refused(mutated(chance.choice(TEXTS + BROKEN), chance))


@given(seed=st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_mutated_values(seed: int) -> None:
    """Valid objects with one to three values replaced by odd ones."""
    chance = random.Random(seed)
    documents = [one for one in yaml.safe_load_all(chance.choice(TEXTS)) if one]
    one = copy.deepcopy(chance.choice(documents))
    for _ in range(chance.randrange(1, 4)):
        chance.choice(list(places(one)))(copy.deepcopy(chance.choice(ODD)))
    understood_or_refused(yaml.safe_dump(one, allow_unicode=True))


@given(text=st.text(max_size=200))
@example(text="a: &a [*a]")
@example(text="kind: &a [*a]")
@example(text="[" * 5000)
@example(text="{a: " * 5000)
@example(text='"\\UFFFFFFFF"')
@example(text="%YAML 99999999999999999999.1\n---\na")
@example(text="a: " + "9" * 5000)
@example(text="a: 0x" + "f" * 5000)
@example(text="? [a]\n: b")
@example(text="<<: [*a]")
@example(text="a: &x {b: 1}\n<<: [*x, [], 3]")
@settings(max_examples=300, deadline=None)
def test_any_text(text: str) -> None:
    understood_or_refused(text)
    understood_or_refused(text, "fuzzed.json")


def test_aliases_cannot_exhaust_the_memory() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert not understood_or_refused("\n".join(lines))


def test_shipped_manifests_are_understood() -> None:
    assert all(understood_or_refused(text) for text in TEXTS)
    assert not any(understood_or_refused(text) for text in BROKEN)
