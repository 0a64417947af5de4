"""The time that a run may take: whatever is begun is first asked whether it would end within it."""

from __future__ import annotations

import math
import time


class Clock:
    """The time that is allowed, which runs from now on.

    Args:
        limit: the seconds that are allowed; infinity for no limit.
    """

    def __init__(self, limit: float = math.inf) -> None:
        self.limit, self.start = limit, time.perf_counter()
        self.refused = False
        """Whether there was no time at the last question."""

    @property
    def seconds(self) -> float:
        """The time since the start."""
        return time.perf_counter() - self.start

    @property
    def left(self) -> float:
        """The time that is left, always more than 0."""
        return max(self.limit - self.seconds, math.ulp(0.0))

    def allows(self, expected: float, share: float = 1.0) -> bool:
        """Return whether what is expected to take so long would end within a share of the time."""
        self.refused = self.seconds + expected > share * self.limit
        return not self.refused
