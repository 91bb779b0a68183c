"""Two moments of the past, from the parameters ``start`` and ``end``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from greeks_trio.api.routes.scenario_params import invalid

# There were no ticks before.
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR: Final = timedelta(hours=1)


def past_interval(
    start: datetime,
    end: datetime | None,
    *,
    now: datetime,
    most_days: int | None = None,
) -> tuple[datetime, datetime]:
    """Return the two moments in UTC; the last one is the present at most.

    Raises:
        Problem: They are no interval of the past, or a too long one.
    """
    start = in_utc(start)
    end = now if end is None else min(in_utc(end), now)
    if start >= now:
        raise invalid("`start` lies in the future.")
    if start >= end:
        raise invalid("`start` has to lie before `end`.")
    if most_days is not None and end - start > timedelta(days=most_days):
        raise invalid(f"`end` lies more than {most_days} days after `start`.")
    return start, end


def last_hour(
    start: datetime | None, end: datetime | None, now: datetime
) -> tuple[datetime, datetime]:
    """Return the two moments in UTC; without a start it is one hour before the end.

    Raises:
        Problem: They are no interval of the past, or older than any tick.
    """
    if any(each is not None and in_utc(each) < _FIRST for each in (start, end)):
        raise invalid("A time lies before the year 1970.")
    return past_interval(start or (end or now) - _HOUR, end, now=now)


def in_utc(moment: datetime) -> datetime:
    """Return the moment in UTC.

    Raises:
        Problem: Its year has more than four digits there, or is before the first one.
    """
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise invalid("A time lies outside the years 1 to 9999 in UTC.") from None
