"""When US options trade, so that a quiet contract at night worries nobody.

Decides whether staleness is worth a warning, never whether data are accepted.  The
regular session is taken, with its half-days: some index options trade longer, and a
warning less is better than one every night.

Source: the exchange calendar of the New York Stock Exchange, whose days and early
closes the options exchanges follow.
"""

from __future__ import annotations

import warnings
from datetime import UTC, date, datetime, timedelta
from typing import Final

import exchange_calendars

_EXCHANGE: Final = "XNYS"
# The calendar is made for so many days, in a tenth of a second, and made anew when they
# are over.
_DAYS_BACK: Final = 14
_DAYS_AHEAD: Final = 180


class MarketHours:
    """The sessions around a day; makes the next ones by itself."""

    def __init__(self, today: date) -> None:
        self._make_sessions(today)

    def is_open(self, moment: datetime) -> bool:
        """Return whether options trade at this moment, which is aware of its zone."""
        day = moment.astimezone(UTC).date()
        if not self._first <= day <= self._last:
            self._make_sessions(day)
        # New York's session never crosses midnight UTC.
        session = self._sessions.get(day)
        return session is not None and session[0] <= moment < session[1]

    def _make_sessions(self, today: date) -> None:
        self._first = today - timedelta(days=_DAYS_BACK)
        self._last = today + timedelta(days=_DAYS_AHEAD)
        with warnings.catch_warnings():
            # The library's affair with pandas, not ours.
            warnings.simplefilter("ignore", DeprecationWarning)
            calendar = exchange_calendars.get_calendar(
                _EXCHANGE, start=self._first.isoformat(), end=self._last.isoformat()
            )
            self._sessions: dict[date, tuple[datetime, datetime]] = {
                session.date(): (
                    calendar.session_open(session).to_pydatetime(),
                    calendar.session_close(session).to_pydatetime(),
                )
                for session in calendar.sessions
            }
