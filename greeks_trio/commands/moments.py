"""The moments that people type."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

import click

_DAYS_AGO: Final = {"today": 0, "yesterday": 1}
_CLOCK: Final = re.compile(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?")


def parse_time(
    _ctx: click.Context, _param: click.Parameter, value: str | None
) -> str | None:
    """Return a moment that a person types as RFC 3339."""
    if value is None:
        return None
    try:
        return parse_moment(value, datetime.now().astimezone()).isoformat()
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{value!r} is no time: write it as 09:30, yesterday, 2026-11-20 or"
            " 2026-11-20T14:30Z."
        ) from None


def parse_moment(text: str, now: datetime) -> datetime:
    """Return the moment: a time of day, a day, or a time as in ISO 8601.

    A time without a zone is that of this machine.  A time of day is the last one that is
    past.  `today` and `yesterday` are the begin of the day.

    Args:
        text: The words.
        now: The present moment, with its zone.

    Raises:
        ValueError: The text is no time.
    """
    if text not in _DAYS_AGO and not _CLOCK.fullmatch(text):
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo is not None else moment.astimezone()
    day = now.astimezone().date()
    if text in _DAYS_AGO:
        return _at(str(day - timedelta(days=_DAYS_AGO[text])), "00:00")
    moment = _at(day.isoformat(), text)
    return moment if moment <= now else _at(str(day - timedelta(days=1)), text)


def _at(day: str, clock: str) -> datetime:
    padded = clock if clock[2] == ":" else f"0{clock}"
    return datetime.fromisoformat(f"{day}T{padded}").astimezone()
