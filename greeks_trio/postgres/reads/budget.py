"""The share of time that reads may take, so that the writer keeps its own."""

from __future__ import annotations

from typing import Final

import trio

# A page that opens asks several things at once; so much may be used in advance.
_BURST_S: Final = 5.0


class ReadBudget:
    """Delays reads that together have taken more than their share.

    The time of each read is added to a sum when the read ends.  The sum falls by ``share``
    seconds in each second.  A read begins when the sum is at most `_BURST_S`.

    Args:
        share: Seconds of reads in each second, on average.
        longest_s: The limit of a read.  In twice that time the service stood still,
            which took nothing from the writer.
    """

    def __init__(self, share: float, *, longest_s: float) -> None:
        self._share = share
        self._longest_s = longest_s
        self._turns = trio.Lock()
        self._used_s = 0.0
        self._counted_at = trio.current_time()

    async def wait(self) -> None:
        """Wait until another read may begin."""
        async with self._turns:  # in the order of the calls
            excess_s = self._fade() - _BURST_S
            await trio.sleep(max(0.0, excess_s / self._share))

    def spend(self, seconds: float) -> None:
        """Count the running time of a read."""
        self._fade()
        if seconds < 2 * self._longest_s:
            self._used_s += min(seconds, self._longest_s)

    def _fade(self) -> float:
        now = trio.current_time()
        self._used_s = max(0.0, self._used_s - (now - self._counted_at) * self._share)
        self._counted_at = now
        return self._used_s
