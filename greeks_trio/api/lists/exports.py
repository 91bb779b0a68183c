"""Whole lists as a stream, as fast as the client reads.

The service breaks off a stream that it cannot finish, and one whose client does not read.
The last chunk of HTTP's chunked encoding is then missing, so every client sees that the
list is not complete.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from typing import Final, TypeAlias

import trio
from fastapi import Response

from greeks_trio.api.access.limits import Message, Receive, Send, cancel_when_gone
from greeks_trio.api.answers import Problem, problem_answer
from greeks_trio.api.store_problems import problem_of
from greeks_trio.errors import StoreError
from greeks_trio.postgres.reads.listing import ExportFormat
from greeks_trio.postgres.reads.reader import Export

logger = logging.getLogger(__name__)

MEDIA_TYPES: Final[dict[ExportFormat, str]] = {
    "csv": "text/csv",
    "ndjson": "application/x-ndjson",
}

# Shorter than the server's own limit for a connection, because only this module can log
# which list is broken off.
WRITE_LIMIT_S: Final = 20.0


# Yields the text before the first row, and the rows.
OpenExport: TypeAlias = Callable[[], AbstractAsyncContextManager[tuple[bytes, Export]]]


class ExportAnswer(Response):
    """An answer that is made while it is sent.

    Args:
        open_export: Begins the export; its end ends it.
        name: Of the file in which a browser saves it, without the ending.
        limit_s: Seconds for the whole answer.
    """

    def __init__(
        self, open_export: OpenExport, form: ExportFormat, name: str, *, limit_s: float
    ) -> None:
        super().__init__(media_type=MEDIA_TYPES[form])
        self._limit_s = limit_s
        self._has_begun = False
        self._open_export = open_export
        self._name = name
        # Response has counted an empty body.
        del self.headers["content-length"]
        self.headers["content-disposition"] = f'attachment; filename="{name}.{form}"'

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Send all lines, until the client has gone or a read fails."""
        problem: Problem | None = None
        with trio.move_on_after(self._limit_s) as limit:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_when_gone, receive, nursery.cancel_scope)
                problem = await self._export(send)
                nursery.cancel_scope.cancel()
        if limit.cancelled_caught:
            logger.warning(
                "export.broken_off list=%s reason=not complete after %g s, see "
                "GREEKS_HTTP_EXPORT_TIMEOUT_S",
                self._name,
                self._limit_s,
            )
            if not self._has_begun:
                problem = Problem(
                    HTTPStatus.GATEWAY_TIMEOUT, "The export has not begun in time."
                )
        if problem is not None:
            answer = problem_answer(
                problem.status, problem.detail, headers=problem.headers
            )
            await answer(scope, receive, send)

    async def _export(self, send: Send) -> Problem | None:
        """Return the reason why the export cannot begin, `None` when it has begun."""
        try:
            async with self._open_export() as (head, export):
                return await self._send_lines(head, export, send)
        except StoreError as exc:
            return problem_of(exc)

    async def _send_lines(
        self, head: bytes, export: Export, send: Send
    ) -> Problem | None:
        try:
            chunk = await export.next_lines()
        except StoreError as exc:
            return problem_of(exc)
        self._has_begun = True
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        try:
            await _send_body(send, head + chunk)
            while chunk:
                chunk = await export.next_lines()
                await _send_body(send, chunk)
        except StoreError as exc:
            logger.warning("export.broken_off list=%s reason=%s", self._name, exc)
            return None
        except trio.TooSlowError:
            logger.warning(
                "export.broken_off list=%s reason=client-does-not-read", self._name
            )
            return None
        await send({"type": "http.response.body", "body": b""})
        return None


async def _send_body(send: Send, body: bytes) -> None:
    """Send a piece.

    Raises:
        trio.TooSlowError: the client leaves it unread.
    """
    with trio.fail_after(WRITE_LIMIT_S):
        await send({"type": "http.response.body", "body": body, "more_body": True})
