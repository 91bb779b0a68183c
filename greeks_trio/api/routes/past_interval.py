"""Two moments of the past, from the parameters ``start`` and ``end``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from greeks_trio.api.routes.scenario_params import invalid


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


def in_utc(moment: datetime) -> datetime:
    """Return the moment in UTC.

    Raises:
        Problem: Its year has more than four digits there, or is before the first one.
    """
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise invalid("A time lies outside the years 1 to 9999 in UTC.") from None
