"""The days on which the simulated contracts expire.  Pure: today is an argument."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

MONTH_CODES: Final = "FGHJKMNQUVXZ"
MONDAY, THURSDAY, FRIDAY = 0, 3, 4
# A contract of the book expires at the earliest after so many days.
_NOT_BEFORE: Final = 21


def month_after(day: date, months: int) -> date:
    """Return the first day of the month that many months later."""
    number = day.year * 12 + day.month - 1 + months
    return date(number // 12, number % 12 + 1, 1)


def nth_weekday(month: date, weekday: int, number: int) -> date:
    """Return the first, second ... Monday (0) to Sunday (6) of a month."""
    first = month.replace(day=1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (number - 1))


def third_friday(month: date) -> date:
    """Return the day on which standard options of a month expire."""
    return nth_weekday(month, FRIDAY, 3)


def coming_month(today: date, weekday: int, number: int, *, later: int = 0) -> date:
    """Return the first month whose nth weekday is far enough away, or a later month."""
    month = month_after(today, 0)
    while nth_weekday(month, weekday, number) < today + timedelta(days=_NOT_BEFORE):
        month = month_after(month, 1)
    return month_after(month, later)


def quarter_month(day: date) -> date:
    """Return the first of March, June, September, December with expiry not before ``day``."""
    month = month_after(day, 0)
    while month.month % 3 or third_friday(month) < day:
        month = month_after(month, 1)
    return month


def month_code(month: date) -> str:
    """Return the letter of a month in the symbols of futures: Z for December."""
    return MONTH_CODES[month.month - 1]


def month_name(month: date) -> str:
    """Return ``DEC2026``."""
    return f"{month:%b%Y}".upper()
