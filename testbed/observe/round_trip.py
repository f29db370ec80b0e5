"""How long to wait for a single answer: the retransmission timeout of TCP (RFC 6298)."""

_SHORTEST_S = 0.1
_SHARE, _VARIATION_SHARE = 1 / 8, 1 / 4
"""Weights of a new measurement in the average and in its variation."""
_VARIATIONS = 4


class RoundTrip:
    """Average and variation of the measured round trips."""

    def __init__(self) -> None:
        self._average: float | None = None
        self._variation = 0.0

    def measured(self, seconds: float) -> None:
        """Count an answer to a question that was asked once; of repeated ones it is unknown which was answered."""
        if self._average is None:
            self._average, self._variation = seconds, seconds / 2
            return
        self._variation += _VARIATION_SHARE * (abs(self._average - seconds) - self._variation)
        self._average += _SHARE * (seconds - self._average)

    @property
    def limit(self) -> float:
        """Seconds after which an answer is late."""
        return max(_SHORTEST_S, (self._average or 0) + _VARIATIONS * self._variation)
