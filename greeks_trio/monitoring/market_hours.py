"""The hours in which options trade, so that no contract is called stale at night.

The hours decide whether a stale contract gives a warning.  They never decide whether data
are accepted.  `greeks_trio.monitoring.markets` has the market of each contract.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from greeks_trio.monitoring.markets import MARKETS, Market, market_of

# Their calendars are made at the start.
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

    To make a calendar takes up to half a second.  Only `prepare` does it, so that the service can call it outside of its event loop.  The American
    markets are there from the start.
    """

    def __init__(self, today: date) -> None:
        self._days: dict[str, _Days] = {}
        self.prepare(AMERICAN, today)

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
        if market is None:
            return False
        days = self._days.get(market)
        day = moment.astimezone(UTC).date()
        return days is None or days.first <= day < days.last

    def open_markets(self, moment: datetime) -> dict[str, bool]:
        """Return for each prepared market whether it is open."""
        return {market: self.is_open(moment, market) for market in tuple(self._days)}

    def unprepared(self, markets: Iterable[str], today: date) -> set[str]:
        """Return the markets, and those in use, for which `prepare` has work to do."""
        names = {*markets, *self._days}
        return {each for each in names if self._needs_days(each, today)}

    def prepare(self, markets: Collection[str], today: date) -> None:
        """Make the sessions of markets around a day.

        It blocks; one thread at a time may call it, beside the readers.
        """
        calendars: dict[str, tuple[Any, date]] = {}
        wanted_until = today + timedelta(days=_DAYS_AHEAD)
        first = today - timedelta(days=_DAYS_BACK)
        for name in markets:
            market = MARKETS[name]
            if market.calendar not in calendars:
                calendars[market.calendar] = _make_calendar(
                    market.calendar, first, wanted_until
                )
            calendar, last = calendars[market.calendar]
            sessions = {} if calendar is None else _sessions(calendar, market)
            self._days[name] = _Days(first, last, wanted_until, sessions)

    def _needs_days(self, market: str, today: date) -> bool:
        days = self._days.get(market)
        return days is None or not (
            days.first <= today < days.wanted_until - timedelta(days=_DAYS_LEFT)
        )


def _make_calendar(name: str, first: date, last: date) -> tuple[Any, date]:
    """Return a calendar of the library, and the day after its last one.

    For some exchanges the library knows the holidays up to a year only.
    """
    import exchange_calendars  # it takes half a second, and most commands need none

    for end in (last, date(first.year + 1, 12, 31), date(first.year, 12, 31)):
        if not first < end <= last:
            continue
        try:
            with warnings.catch_warnings():
                # The library uses pandas in a deprecated way.
                warnings.simplefilter("ignore", DeprecationWarning)
                calendar = exchange_calendars.get_calendar(
                    name, start=first.isoformat(), end=end.isoformat()
                )
        except ValueError:
            continue
        return calendar, end if end == last else end + timedelta(days=1)
    return None, first


def _sessions(calendar: Any, market: Market) -> dict[date, tuple[_Session, ...]]:  # noqa: ANN401 - the library has no types
    return {
        session.date(): _within(market, session.date(), [_moment(each) for each in row])
        for session, *row in calendar.schedule.itertuples()
    }


def _moment(value: Any) -> datetime | None:  # noqa: ANN401 - the library has no types
    """Return the time of a pandas timestamp, `None` for none."""
    is_none = value != value
    return None if is_none else value.to_pydatetime()


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
