"""The hours in which options trade, so that no contract is called stale at night.

The hours decide whether a stale contract gives a warning.  They never decide whether data
are accepted.  `greeks_trio.monitoring.markets` has the market of each contract.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Final

from greeks_trio.monitoring.calendars import Calendar
from greeks_trio.monitoring.markets import MARKETS, Market, market_of

AMERICAN: Final = ("equity", "index", "future")

# The calendars cover these days.  They are made anew some days before the last one.
_DAYS_BACK: Final = 14
_DAYS_AHEAD: Final = 180
_DAYS_LEFT: Final = 30

_Session = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class _Days:
    """The sessions of a market by the date of their end.

    Attributes:
        first: The first day that is known.
        last: The day after the last one that is known.
        wanted_until: The day before which they were wanted; the library may know less.
    """

    first: date
    last: date
    wanted_until: date
    sessions: Mapping[date, tuple[_Session, ...]]


class MarketHours:
    """The sessions around the present day, of the markets that are in use.

    The American markets are always in use.  `take` brings the calendars, which another
    process reads.

    Attributes:
        are_readable: False while the calendars cannot be read.
    """

    def __init__(self) -> None:
        self._days: dict[str, _Days] = {}
        self.are_readable = True

    def is_open(self, moment: datetime, market: str = "equity") -> bool:
        """Return whether a market is open at this moment, which is aware of its zone.

        A market that is not prepared is not open.
        """
        day = moment.astimezone(UTC).date()
        days = self._days.get(market)
        if days is None or not days.first <= day < days.last:
            return False
        # A session has the date of its end, which is the day of its start or the next.
        return any(
            opens <= moment < closes
            for each in (day, day + timedelta(days=1))
            for opens, closes in days.sessions.get(each, ())
        )

    def trades(
        self, contract_key: str, moment: datetime, exchange: str | None = None
    ) -> bool:
        """Return whether the contract's market is open at this moment."""
        market = market_of(contract_key, exchange)
        return market is not None and self.is_open(moment, market)

    def are_known(
        self, contract_key: str, moment: datetime, exchange: str | None = None
    ) -> bool:
        """Return whether the hours of the contract's market are known, or soon will be."""
        market = market_of(contract_key, exchange)
        return market is not None and self.knows(market, moment)

    def knows(self, market: str, moment: datetime) -> bool:
        """Return whether the hours of a market are known, or soon will be."""
        days = self._days.get(market)
        day = moment.astimezone(UTC).date()
        if days is None:
            return self.are_readable
        return days.first <= day < days.last

    def open_markets(self, moment: datetime) -> dict[str, bool]:
        """Return for each prepared market whether it is open."""
        return {market: self.is_open(moment, market) for market in tuple(self._days)}

    def unprepared(self, markets: Iterable[str], today: date) -> set[str]:
        """Return the markets, and those in use, whose calendars are needed."""
        names = {*AMERICAN, *markets, *self._days}
        return {each for each in names if self._needs_days(each, today)}

    def take(
        self, markets: Collection[str], calendars: Mapping[str, Calendar], today: date
    ) -> None:
        """Make the sessions of markets around a day.

        Args:
            markets: Some of `unprepared`.
            calendars: Those that `calendars_of` names, for the days of `days_around`.
            today: The day.
        """
        self.are_readable = True
        first, wanted_until = days_around(today)
        for name in markets:
            market = MARKETS[name]
            calendar = calendars[market.calendar]
            sessions = {
                day: _within(market, day, moments) for day, moments in calendar.sessions
            }
            end = first if calendar.end is None else calendar.end
            self._days[name] = _Days(first, end, wanted_until, sessions)

    def _needs_days(self, market: str, today: date) -> bool:
        days = self._days.get(market)
        return days is None or not (
            days.first <= today < days.wanted_until - timedelta(days=_DAYS_LEFT)
        )


def calendars_of(markets: Iterable[str]) -> set[str]:
    """Return the names of the calendars of these markets."""
    return {MARKETS[each].calendar for each in markets}


def days_around(today: date) -> tuple[date, date]:
    """Return the first day of a calendar, and the day after its last one."""
    return today - timedelta(days=_DAYS_BACK), today + timedelta(days=_DAYS_AHEAD)


def _within(
    market: Market, day: date, moments: Iterable[datetime | None]
) -> tuple[_Session, ...]:
    """Return the parts of a session in which the market's options trade.

    ``moments``: the start of the session, the start and the end of its break, its end.
    """
    opens, *pauses, closes = (each for each in moments if each is not None)
    if market.opens is not None:
        opens = max(opens, datetime.combine(day, market.opens, tzinfo=market.zone))
    if market.closes is not None:
        closes = min(closes, datetime.combine(day, market.closes, tzinfo=market.zone))
    ends = (opens, *pauses, closes + market.longer)
    parts = list(pairwise(ends))[::2]
    return tuple((begin, end) for begin, end in parts if begin < end)
