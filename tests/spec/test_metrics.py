"""The metrics that a scenario can name."""

from typing import get_args

from testbed.report.metrics import METRICS
from testbed.spec.metrics import Directed


def test_every_measured_metric_with_a_better_direction_can_be_a_headline_and_no_other() -> None:
    measured = {name for name, metric in METRICS.items() if metric.better and not metric.exact}
    assert set(get_args(Directed)) == measured
