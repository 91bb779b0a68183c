"""What PostgreSQL's troubles mean for the one who asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final

from greeks_trio.errors import ReadsBusy, ReadTooLong, StoreError, StoreRejected
from greeks_trio.web.answers import Problem

# Every status that `problem_of` may give.
STORE_PROBLEMS: Final = (
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)

_BUSY: Final = "As many questions are being answered as may be. Ask again in a second."
_TOO_LONG: Final = (
    "PostgreSQL took too long and was stopped. Ask for less: one contract, one account, "
    "or a shorter time."
)
_REFUSED: Final = "PostgreSQL does not take one of the values."
_AWAY: Final = (
    "The database does not answer just now. Nothing is lost: ticks wait on disk until it "
    "does. /readyz has the reason."
)


@contextmanager
def store_problems() -> Iterator[None]:
    """Turn PostgreSQL's troubles into problems.

    Raises:
        Problem: instead of any `StoreError`.
    """
    try:
        yield
    except StoreError as exc:
        raise problem_of(exc) from exc


def problem_of(exc: StoreError) -> Problem:
    """Return what to answer, without PostgreSQL's own words: they may name its rows."""
    match exc:
        case ReadsBusy():
            return _unavailable(_BUSY, retry_after_s=1)
        case ReadTooLong():
            return Problem(HTTPStatus.GATEWAY_TIMEOUT, _TOO_LONG)
        case StoreRejected():
            return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, _REFUSED)
        case _:
            return _unavailable(_AWAY, retry_after_s=5)


def _unavailable(detail: str, *, retry_after_s: int) -> Problem:
    headers = {"Retry-After": str(retry_after_s)}
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=headers)
