"""Read the broker's clock from the header ``Date`` of its answers."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeAlias

import httpx2

# Takes the broker's time in whole seconds, and the seconds that the answer took.
TakeDate: TypeAlias = Callable[[datetime, float], object]
EventHook: TypeAlias = Callable[[Any], Awaitable[None]]


class DatedTransport(httpx2.AsyncBaseTransport):
    """Passes every request on, and reads the time of its answer."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, take: TakeDate) -> None:
        self._inner = inner
        self._take = take

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Return the answer of the inner transport."""
        asked_at = time.monotonic()
        response = await self._inner.handle_async_request(request)
        if (date := parse_date(response.headers.get("Date"))) is not None:
            self._take(date, time.monotonic() - asked_at)
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


def date_hooks(take: TakeDate) -> dict[str, list[EventHook]]:
    """Return hooks for a client that read the time of each answer."""

    # The client awaits its hooks.
    async def note_request(request: httpx2.Request) -> None:  # noqa: ASYNC124
        request.extensions["asked_at"] = time.monotonic()

    async def read_date(response: httpx2.Response) -> None:  # noqa: ASYNC124
        asked_at = response.request.extensions["asked_at"]
        if (date := parse_date(response.headers.get("Date"))) is not None:
            take(date, time.monotonic() - asked_at)

    return {"request": [note_request], "response": [read_date]}


def parse_date(text: str | None) -> datetime | None:
    """Return the time of a ``Date`` header, `None` if there is none that can be read."""
    if not text:
        return None
    try:
        date = parsedate_to_datetime(text)
        # A header without a zone is in UTC.
        return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def ignore_date(date: datetime, round_trip_s: float) -> None:
    """Take no date."""
