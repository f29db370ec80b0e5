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


@pytest.mark.skipif(not FOLDERS, reason="TESTBED_CASES names no folder with cases")
def test_disputed_cases_are_known() -> None:
    """Cases in which the manifest and its author's text differ; the oracle follows the manifest."""
    disputes = {folder.name: case.dispute for folder in FOLDERS if (case := of_folder(folder)).dispute}
    assert list(disputes) == ["recipe-14-HEAD-DISPUTED"]
    assert "allows only DNS" in disputes["recipe-14-HEAD-DISPUTED"]
