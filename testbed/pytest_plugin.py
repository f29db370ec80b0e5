"""A pytest plugin with the fixture `lab_up`, installed with the package."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from testbed import Lab


@pytest.fixture
def lab_up() -> "Iterator[Callable[..., Lab]]":
    """`lab_up(topology, design=...)` brings labs up, as `testbed.Lab.up` does; they end with the test."""
    from testbed import Lab

    with ExitStack() as labs:

        def up(*arguments: Any, **options: Any) -> Lab:
            return labs.enter_context(Lab.up(*arguments, **options))

        yield up
