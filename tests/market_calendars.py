"""Market hours that are ready, read in this process."""

from __future__ import annotations

from functools import cache

from greeks_trio.monitoring.calendars import calendar_of
from greeks_trio.monitoring.market_hours import (
    AMERICAN,
    MarketHours,
    calendars_of,
    days_around,
)

# The library needs up to half a second for each, and its answers stay the same.
_calendar_of = cache(calendar_of)


def calendars_here(names, first, last):
    """Return the calendars of these names."""
    return {name: _calendar_of(name, first, last) for name in names}


def prepare(hours, markets, today):
    """Make the sessions of markets around a day."""
    calendars = calendars_here(calendars_of(markets), *days_around(today))
    hours.take(markets, calendars, today)


def hours_of(today, markets=AMERICAN):
    """Return the hours of markets around a day."""
    hours = MarketHours()
    prepare(hours, markets, today)
    return hours
