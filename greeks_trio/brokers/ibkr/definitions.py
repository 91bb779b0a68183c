"""The definitions of contracts; they fill the holes of the portfolio's rows.

Source: https://ibkrcampus.com/campus/ibkr-api-page/cpapi-v1/#trsrv-conid-contract
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Final

import trio

from greeks_trio.brokers.ibkr.positions.rows import Row, read_row
from greeks_trio.brokers.ibkr.rest import GatewayClient
from greeks_trio.errors import FeedInterrupted
from greeks_trio.model.contracts import Conid

logger = logging.getLogger(__name__)

_PATH: Final = "/trsrv/secdef"
_MOST_AT_ONCE: Final = 200
_NO_LOGIN: Final = 401
_NO_GET: Final = (400, 404, 405)
# A gateway that does not answer must not hold back the positions again and again.
_PAUSE_S: Final = 30.0


class Definitions:
    """Requests definitions over one connection."""

    def __init__(self, client: GatewayClient) -> None:
        self._client = client
        self._failure = ""
        self._wants_post = False
        self._not_before = 0.0

    async def read(self, conids: Iterable[Conid]) -> list[Row]:
        """Return the definitions that IBKR has; a request that fails gives none.

        After a failure no request is sent for a while.

        Raises:
            FeedInterrupted: There is no login, or IBKR locks this user out.
        """
        rows: list[Row] = []
        wanted = list(conids) if trio.current_time() >= self._not_before else []
        for start in range(0, len(wanted), _MOST_AT_ONCE):
            some = wanted[start : start + _MOST_AT_ONCE]
            try:
                answer = await self._request(some)
            except FeedInterrupted as exc:
                if exc.retry_after is not None or exc.http_status == _NO_LOGIN:
                    raise
                self._note_failure(str(exc), len(wanted))
                break
            rows += map(read_row, _entries(answer))
        return rows

    async def _request(self, conids: Sequence[Conid]) -> object:
        """Send one request; older gateways take the conids in a body only."""
        if not self._wants_post:
            params = {"conids": ",".join(map(str, conids))}
            try:
                return await self._client.request("GET", _PATH, params=params)
            except FeedInterrupted as exc:
                if exc.http_status not in _NO_GET:
                    raise
        answer = await self._client.request(
            "POST", _PATH, content={"conids": list(conids)}
        )
        self._wants_post = True
        return answer

    def _note_failure(self, reason: str, number: int) -> None:
        """Log a reason once; the requests come with each reading."""
        self._not_before = trio.current_time() + _PAUSE_S
        if reason != self._failure:
            self._failure = reason
            logger.warning("ibkr.definitions contracts=%d reason=%s", number, reason)


def _entries(answer: object) -> Sequence[object]:
    """Return the definitions of an answer: a list, one alone, or by conid."""
    found = answer.get("secdef", answer) if isinstance(answer, dict) else answer
    if isinstance(found, dict):
        found = [found] if "conid" in found else list(found.values())
    return found if isinstance(found, list) else ()
