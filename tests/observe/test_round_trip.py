"""The time limit of an answer follows the measured round trips."""

import pytest

from testbed.observe.round_trip import RoundTrip


def test_the_limit_follows_rfc_6298() -> None:
    trip = RoundTrip()
    assert trip.limit == pytest.approx(0.1)
    trip.measured(0.4)
    assert trip.limit == pytest.approx(0.4 + 4 * 0.2)
    trip.measured(0.6)
    assert trip.limit == pytest.approx((0.4 + 0.2 / 8) + 4 * (0.2 + (0.2 - 0.2) / 4))


def test_one_slow_answer_is_forgotten_after_many_quick_ones() -> None:
    trip = RoundTrip()
    trip.measured(2.0)
    for _ in range(100):
        trip.measured(0.0002)
    assert trip.limit == pytest.approx(0.1)
