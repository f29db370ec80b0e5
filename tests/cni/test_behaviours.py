"""Each behaviour that the specification requires of a runtime has a test named after its number."""

import json
import re
from pathlib import Path

from tests.cni.conftest import CASES


def test_every_behaviour_has_a_test() -> None:
    wanted = {item["id"] for item in json.loads((CASES / "SPEC-BEHAVIOURS.json").read_text())["items"]}
    tests = Path(__file__).parents[1]
    texts = [path.read_text() for path in (*tests.glob("cni/test_*.py"), tests / "lab/test_plugging.py")]
    named = {f"{kind}-{number}" for text in texts for kind, number in re.findall(r"def test_([a-z]+)_(\d\d)_", text)}
    assert len(wanted) == 35
    assert wanted - named == set()
