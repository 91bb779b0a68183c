"""When options trade, so that a quiet contract at night worries nobody.

Decides whether staleness is worth a warning, never whether data are accepted.  A
contract follows one of three markets:

========  =========================================================================
equity    options on shares and funds: the regular session, with its half-days
index     options on Cboe's and Nasdaq's indices: a quarter of an hour longer
future    futures options: CME's day, from 17:00 to 16:00 the next day in Chicago
========  =========================================================================

Not taken: the fifteen minutes longer of some broad funds, whose list changes; Cboe's
sessions from 20:15 to 9:15 and from 16:15 to 17:00 for SPX, VIX, XSP and RUT, where a
contract without ticks for minutes is usual.  A warning less is better than one every
night.

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

# The library's own calendar of Cboe does not know every half-day.
_INDEX_EXTRA: Final = timedelta(minutes=15)
_INDICES: Final = frozenset(
    ("SPX", "XSP", "VIX", "RUT", "MRUT", "DJX", "NDX", "XND", "OEX", "XEO")
)
_ROOT_LENGTH: Final = 6
_CHICAGO: Final = ZoneInfo("America/Chicago")
# The library lets one day follow the other without CME's hour of maintenance.
_FUTURES_CLOSE: Final = time(16)
# The calendars are made for so many days, in a fifth of a second, and made anew when
# they are over.
_DAYS_BACK: Final = 14
_DAYS_AHEAD: Final = 180

_Session = tuple[datetime, datetime]


def market_of(contract_key: str) -> Market:
    """Return whose hours a contract follows, by its key."""
    if contract_key.startswith("./"):
        return "future"
    root = contract_key[:_ROOT_LENGTH].strip()
    return "index" if underlying_of_root(root) in _INDICES else "equity"


class MarketHours:
    """The sessions around a day; makes the next ones by itself."""

    def __init__(self, today: date) -> None:
        self._make_sessions(today)

    def is_open(self, moment: datetime, market: Market = "equity") -> bool:
        """Return whether a market is open at this moment, which is aware of its zone."""
        day = moment.astimezone(UTC).date()
        if not self._first <= day < self._last:
            self._make_sessions(day)
        # A session is named for the day of its end, never a day after its beginning.
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
            # The library's affair with pandas, not ours.
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
