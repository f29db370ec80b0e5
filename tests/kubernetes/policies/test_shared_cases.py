"""The oracle on the cases of other projects, where these are installed (`TESTBED_CASES`)."""

import os
from pathlib import Path

import pytest

from testbed.kubernetes.policies import allowed, resolve
from tests.kubernetes.policies.cases import of_folder

CASES = Path(os.environ.get("TESTBED_CASES", "/nonexistent"))
FOLDERS = sorted(file.parent for name in ("policies", "policies-derived") for file in CASES.glob(f"{name}/*/case.json"))


@pytest.mark.skipif(not FOLDERS, reason="TESTBED_CASES names no folder with cases")
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_case(folder: Path) -> None:
    case = of_folder(folder)
    wrong = [
        f"step {number}: {row} but {verdict.why()}"
        for number, step in enumerate(case.steps, 1)
        for policies in (resolve(step.state),)
        for row in step.rows
        for verdict in (allowed(policies, row.source, row.target, row.port, row.protocol),)
        if verdict.is_allowed is not row.is_allowed
    ]
    assert wrong == []
