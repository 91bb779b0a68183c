"""The hours in which options trade, so that no contract is called stale at night.

The hours decide whether a stale contract gives a warning.  They never decide whether data
are accepted.  A contract follows one of three markets:

========  =========================================================================
equity    options on shares and funds: the regular session, with half-days
index     options on Cboe's and Nasdaq's indices: a quarter of an hour longer
future    futures options: CME's day, from 17:00 to 16:00 the next day in Chicago
========  =========================================================================

Two extensions are left out.  Some broad funds trade a quarter of an hour longer, but the
list of these funds changes.  Cboe trades SPX, VIX, XSP and RUT from 20:15 to 9:15 and from
16:15 to 17:00 too, but contracts without ticks for minutes are usual there, and a warning
every night would be of no use.

Source: the calendars of the New York Stock Exchange, whose days and early closes the
options exchanges follow, and of CME Globex.
"""

from __future__ import annotations

import warnings
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

import exchange_calendars

from greeks_trio.model.contracts import underlying_of_root

Market = Literal["equity", "index", "future"]
MARKETS: Final[tuple[Market, ...]] = ("equity", "index", "future")

# The library has a calendar of Cboe, but it lacks some half-days.
_INDEX_EXTRA: Final = timedelta(minutes=15)
_INDICES: Final = frozenset(
    ("SPX", "XSP", "VIX", "RUT", "MRUT", "DJX", "NDX", "XND", "OEX", "XEO")
)
_ROOT_LENGTH: Final = 6
_CHICAGO: Final = ZoneInfo("America/Chicago")
# The calendar of the library lacks CME's hour of maintenance between two days.
_FUTURES_CLOSE: Final = time(16)
# The calendars cover these days.  It takes a fifth of a second to make them, and they are
# made anew when a day is outside.
_DAYS_BACK: Final = 14
_DAYS_AHEAD: Final = 180

_Session = tuple[datetime, datetime]


def market_of(contract_key: str) -> Market:
    """Return the market of a contract, by its key."""
    if contract_key.startswith("./"):
        return "future"
    root = contract_key[:_ROOT_LENGTH].strip()
    return "index" if underlying_of_root(root) in _INDICES else "equity"


class MarketHours:
    """The sessions around a day.  The next ones are made when they are needed."""

    def __init__(self, today: date) -> None:
        self._make_sessions(today)

    def is_open(self, moment: datetime, market: Market = "equity") -> bool:
        """Return whether a market is open at this moment, which is aware of its zone."""
        day = moment.astimezone(UTC).date()
        if not self._first <= day < self._last:
            self._make_sessions(day)
        # A session has the date of its end, which is the day of its start or the next.
        days = (day, day + timedelta(days=1))
        found = (self._sessions[market].get(each) for each in days)
        return any(opens <= moment < closes for opens, closes in filter(None, found))

    def trades(self, contract_key: str, moment: datetime) -> bool:
        """Return whether the contract's market is open at this moment."""
        return self.is_open(moment, market_of(contract_key))

    def _make_sessions(self, today: date) -> None:
        self._first = today - timedelta(days=_DAYS_BACK)
        self._last = today + timedelta(days=_DAYS_AHEAD)
        equity = self._read_sessions("XNYS")
        self._sessions: dict[Market, dict[date, _Session]] = {
            "equity": equity,
            "index": {
                day: (opens, closes + _INDEX_EXTRA)
                for day, (opens, closes) in equity.items()
            },
            "future": {
                day: (opens, min(closes, _futures_close(day)))
                for day, (opens, closes) in self._read_sessions("CMES").items()
            },
        }

    def _read_sessions(self, exchange: str) -> dict[date, _Session]:
        with warnings.catch_warnings():
            # The library uses pandas in a deprecated way.
            warnings.simplefilter("ignore", DeprecationWarning)
            calendar = exchange_calendars.get_calendar(
                exchange, start=self._first.isoformat(), end=self._last.isoformat()
            )
            return {
                session.date(): (
                    calendar.session_open(session).to_pydatetime(),
                    calendar.session_close(session).to_pydatetime(),
                )
                for session in calendar.sessions
            }


def _futures_close(day: date) -> datetime:
    return datetime.combine(day, _FUTURES_CLOSE, tzinfo=_CHICAGO)
