"""Intervals of one length between two moments.

The length is a usual one, and the intervals begin at whole multiples of it.  So an interval
has the same ticks in every answer, also while the end moves with the present.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Final, Self

import msgspec
from psycopg import sql

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400
_LENGTHS_S: Final = (
    *(1, 2, 3, 5, 10, 15, 20, 30),
    *(_MINUTE_S * n for n in (1, 2, 3, 5, 10, 15, 20, 30)),
    *(_HOUR_S * n for n in (1, 2, 3, 4, 6, 8, 12)),
    *(_DAY_S * n for n in (1, 2, 3, 4, 5, 7, 10, 14)),
)
# Beyond, the length is a multiple of this.
_LONG_S: Final = _DAY_S * 28


class TimeGrid(msgspec.Struct, frozen=True):
    """Intervals one after the other; the last one may reach beyond the end that was asked for.

    Attributes:
        first: The beginning of the first interval.
        length_s: Seconds of each.
        count: Their number.
    """

    first: datetime
    length_s: int
    count: int

    @classmethod
    def over(cls, start: datetime, end: datetime, most: int) -> Self:
        """Return at most so many intervals that contain all moments from start to end."""
        wanted_s = (end - start).total_seconds() / most
        lengths = (length for length in _LENGTHS_S if length >= wanted_s)
        length = next(lengths, None) or _LONG_S * math.ceil(wanted_s / _LONG_S)
        grid = cls.of_length(start, end, length)
        # The beginnings are rounded, which can take one interval more.
        while grid.count > most:
            longer = (each for each in _LENGTHS_S if each > grid.length_s)
            length = next(longer, None) or (grid.length_s // _LONG_S + 1) * _LONG_S
            grid = cls.of_length(start, end, length)
        return grid

    @classmethod
    def of_length(cls, start: datetime, end: datetime, length_s: int) -> Self:
        """Return the intervals of this length that contain all moments from start to end."""
        first = (start - EPOCH) // timedelta(seconds=length_s) * length_s
        last_s = (end - EPOCH).total_seconds()
        count = max(1, math.ceil((last_s - first) / length_s))
        return cls(EPOCH + timedelta(seconds=first), length_s, count)

    @classmethod
    def until(cls, end: datetime, length_s: int, count: int) -> Self:
        """Return so many intervals of this length; the last one contains the end."""
        last = (end - EPOCH) // timedelta(seconds=length_s)
        first = EPOCH + timedelta(seconds=(last - count + 1) * length_s)
        return cls(first, length_s, count)

    @property
    def numbers(self) -> sql.Composable:
        """The numbers of the intervals, as ``n``."""
        return sql.SQL("generate_series(0, {}) n").format(sql.Literal(self.count - 1))

    def moment(self, number: sql.Composable) -> sql.Composable:
        """Return the beginning of an interval with this number."""
        return sql.SQL("({}::timestamptz + {} * {} * interval '1 second')").format(
            sql.Literal(self.first), number, sql.Literal(self.length_s)
        )
