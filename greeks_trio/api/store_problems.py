"""What PostgreSQL's troubles mean for the one who asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final

from greeks_trio.api.answers import Problem
from greeks_trio.errors import ReadsBusy, ReadTooLong, StoreError, StoreRejected

# Every status that `problem_of` may give.
STORE_PROBLEMS: Final = (
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)

_BUSY: Final = "As many questions are being answered as may be."
_TOO_LONG: Final = "PostgreSQL took too long and was stopped."
_REFUSED: Final = "PostgreSQL does not take one of the values."
_AWAY: Final = "The database does not answer just now."

# What a reader can do about each.
_ASK_AGAIN: Final = "Ask again in a second."
_ASK_FOR_LESS: Final = (
    "Ask for less: a shorter time between `start` and `end`, or one `contract_key` or "
    "`account_id`, whichever the list takes."
)
_WAIT: Final = (
    "Nothing is lost: ticks wait on disk until it does. /readyz has the reason."
)


@contextmanager
def store_problems(unrecorded: str | None = None) -> Iterator[None]:
    """Turn PostgreSQL's troubles into problems.

    Args:
        unrecorded: What to do about something that was to be written; else it is a read.

    Raises:
        Problem: instead of any `StoreError`.
    """
    try:
        yield
    except StoreError as exc:
        raise problem_of(exc, unrecorded) from exc


def problem_of(exc: StoreError, unrecorded: str | None = None) -> Problem:
    """Return what to answer, without PostgreSQL's own words: they may name its rows."""
    match exc:
        case ReadsBusy():
            return _unavailable(_BUSY, unrecorded or _ASK_AGAIN, retry_after_s=1)
        case ReadTooLong():
            detail = f"{_TOO_LONG} {unrecorded or _ASK_FOR_LESS}"
            return Problem(HTTPStatus.GATEWAY_TIMEOUT, detail)
        case StoreRejected():
            return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, _REFUSED)
        case _:
            return _unavailable(_AWAY, unrecorded or _WAIT, retry_after_s=5)


def _unavailable(trouble: str, advice: str, *, retry_after_s: int) -> Problem:
    headers = {"Retry-After": str(retry_after_s)}
    detail = f"{trouble} {advice}"
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=headers)
