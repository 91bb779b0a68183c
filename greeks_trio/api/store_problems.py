"""Errors of PostgreSQL as problems of HTTP."""

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

_BUSY: Final = "All reads of the database are in use."
_TOO_LONG: Final = "PostgreSQL took too long, so the read was stopped."
_REFUSED: Final = "PostgreSQL refuses one of the values in the request."
_AWAY: Final = "The database does not answer at the moment."

# The way out of each, for a read.
_ASK_AGAIN: Final = "Try again in a second."
_ASK_FOR_LESS: Final = (
    "Ask for less: a shorter time between `start` and `end`, or one `contract_key` or "
    "`account_id`, where the list has these parameters."
)
_WAIT: Final = (
    "Nothing is lost: ticks wait on disk meanwhile. /readyz shows the reason."
)


@contextmanager
def store_problems(unrecorded: str | None = None) -> Iterator[None]:
    """Turn errors of PostgreSQL into problems.

    Args:
        unrecorded: The advice after a failed write; `None` for a read.

    Raises:
        Problem: instead of any `StoreError`.
    """
    try:
        yield
    except StoreError as exc:
        raise problem_of(exc, unrecorded) from exc


def problem_of(exc: StoreError, unrecorded: str | None = None) -> Problem:
    """Return the problem, without the text of PostgreSQL, which may contain data."""
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


def _unavailable(reason: str, advice: str, *, retry_after_s: int) -> Problem:
    headers = {"Retry-After": str(retry_after_s)}
    detail = f"{reason} {advice}"
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=headers)
