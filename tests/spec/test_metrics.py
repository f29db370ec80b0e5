"""The metrics that a scenario can name."""

from typing import get_args

from testbed.report.metrics import METRICS
from testbed.spec.metrics import Directed


def test_every_metric_with_a_better_direction_can_be_a_headline_and_no_other() -> None:
    assert set(get_args(Directed)) == {name for name, metric in METRICS.items() if metric.better}
