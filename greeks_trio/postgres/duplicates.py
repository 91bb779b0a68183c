"""When a batch is checked for duplicates before it is sent.  Pure.

A COPY that meets a duplicate stores nothing.  It costs the log that it has written so far,
and an error in the log of the server.  The statement that checks for duplicates costs the
server and us twice as much for each row, so it is for batches that may have some.

Another service that stores the same ticks brings one duplicate after the other.  A lost
answer of the server brings a few, and all batches behind them are new.  So the end is
either a time without duplicates or a number of rows that were all new.  The number grows
with each COPY that fails, so that the log of the server gets few errors in any case.
"""

from __future__ import annotations

import math
from typing import Final

# Without duplicates for this time they are over.
DUPLICATES_LAST_S: Final = 60.0
# Or with so many new rows in a row: a batch of the replayer.
ENOUGH_NEW_ROWS: Final = 5_000


class ExpectedDuplicates:
    """The results of the batches of one connection so far.

    A COPY here is also an INSERT without a check.  Times are monotonic seconds.
    """

    def __init__(self) -> None:
        self._over_at = -math.inf
        self._enough_rows = ENOUGH_NEW_ROWS
        self._new_in_a_row = 0

    def are_likely(self, now: float) -> bool:
        """Return whether the next batch has to be checked."""
        return now < self._over_at and self._new_in_a_row < self._enough_rows

    def copy_failed(self, now: float) -> None:
        """Note that a COPY met a duplicate."""
        is_first = now >= self._over_at
        self._enough_rows = ENOUGH_NEW_ROWS if is_first else 2 * self._enough_rows

    def checked(self, rows: int, new: int, now: float) -> None:
        """Note how many rows of a checked batch were new."""
        if new == rows:
            self._new_in_a_row += new
        else:
            self._new_in_a_row = 0
            self._over_at = now + DUPLICATES_LAST_S
