"""Time: the wall clock, growing delays between attempts, and waiting for a call."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from typing import Final, TypeVar

import trio

# The doubling stops here.  2.0 ** 1024 is an OverflowError, and retries of one minute
# reach it within a weekend.
_MAX_DOUBLINGS: Final = 32

# A slice of a long computation.  It delays the ticks that arrive meanwhile.
_SLICE_S: Final = 0.002

# A login, or a few ticks of one moment, are no stream.
_FREE_STEPS: Final = 20

_T = TypeVar("_T")


def utc_now() -> datetime:
    """Return the wall clock, UTC."""
    return datetime.now(UTC)


class Backoff:
    """The growing delay between attempts at the same thing.

    Attributes:
        attempts: The number of waits since the last `reset`.
    """

    def __init__(
        self,
        *,
        min_delay_s: float = 0.1,
        max_delay_s: float = 5.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._min_delay_s = min_delay_s
        self._max_delay_s = max_delay_s
        self._jitter = jitter
        self.attempts = 0

    def reset(self) -> None:
        """Begin with the shortest delay again, because an attempt went well."""
        self.attempts = 0

    def next_delay(self) -> float:
        """Count an attempt and return the seconds to wait after it.

        The jitter covers the upper half.  So clients that lost the same server come back
        at different times, and none of them comes back at once.
        """
        doublings = min(self.attempts, _MAX_DOUBLINGS)
        self.attempts += 1
        ceiling = min(self._max_delay_s, self._min_delay_s * 2.0**doublings)
        return ceiling * (0.5 + 0.5 * self._jitter())

    async def wait(self) -> None:
        """Count an attempt and sleep its delay."""
        await trio.sleep(self.next_delay())


class Pace:
    """Lets work collect while it comes without a break, for steps that cost much by themselves.

    Steps are delayed after some that followed each other within twice the interval, until
    there is a longer break.  Then one step begins in each interval of the clock.  So all
    connections are read at the same moment: a processor that wakes up for each of them would
    need half as long again for the same work, with cold caches.

    Args:
        interval_s: The length of an interval.
        offset_s: How much later than the intervals of others these begin.
    """

    def __init__(self, interval_s: float, *, offset_s: float = 0.0) -> None:
        self._interval_s = interval_s
        self._offset_s = offset_s
        self._last_at = -math.inf
        # Steps without a longer break before them.
        self._steps = 0

    async def wait(self) -> None:
        """Wait until the next step may begin; is no checkpoint if that is now."""
        if self._steps < _FREE_STEPS:
            return
        number = self._number_of(trio.current_time())
        if number <= self._number_of(self._last_at):
            await trio.sleep_until((number + 1) * self._interval_s + self._offset_s)

    def _number_of(self, at: float) -> int:
        """Return the number of the interval with this moment."""
        return math.floor((at - self._offset_s) / self._interval_s)

    def note(self) -> None:
        """Note that a step begins."""
        now = trio.current_time()
        is_soon = now - self._last_at < 2 * self._interval_s
        self._steps = self._steps + 1 if is_soon else 0
        self._last_at = now


class WakeUp:
    """Wakes all tasks that wait at the moment of the call, and no later ones.

    Attributes:
        calls: The number of calls of `wake`.  A task compares it with an earlier value
            to see whether it missed a call.
    """

    def __init__(self) -> None:
        self.calls = 0
        self._waiting = trio.lowlevel.ParkingLot()

    def wake(self) -> None:
        """Wake every task that is waiting now."""
        self.calls += 1
        if self._waiting:
            self._waiting.unpark_all()

    async def wait(self) -> None:
        """Wait for the next call of `wake`."""
        await self._waiting.park()

    async def wait_beyond(self, calls: int) -> None:
        """Wait until there were more calls of `wake` than that, also before this wait."""
        while self.calls <= calls:
            await self.wait()


def run_at_once(steps: Generator[None, None, _T]) -> _T:
    """Run a computation of `run_in_slices` without a turn for other tasks."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: _T = end.value
            return result


async def run_in_slices(steps: Generator[None, None, _T]) -> _T:
    """Run a long computation, and give other tasks a turn every 2 ms.

    Args:
        steps: Yields after each small step, and returns the result.
    """
    while True:
        slice_ends_at = time.perf_counter() + _SLICE_S
        try:
            # One step at least, however busy the machine is.
            next(steps)
            while time.perf_counter() < slice_ends_at:
                next(steps)
        except StopIteration as end:
            result: _T = end.value
            return result
        await trio.lowlevel.checkpoint()
