"""The definitions of contracts; they fill the holes of the portfolio's rows.

Source: https://ibkrcampus.com/campus/ibkr-api-page/cpapi-v1/#trsrv-conid-contract
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Final

from greeks_trio.brokers.ibkr.positions.rows import Row, read_row
from greeks_trio.brokers.ibkr.rest import GatewayClient
from greeks_trio.errors import FeedInterrupted
from greeks_trio.model.contracts import Conid

logger = logging.getLogger(__name__)

_PATH: Final = "/trsrv/secdef"
_MOST_AT_ONCE: Final = 200
_NO_LOGIN: Final = 401


async def read_definitions(client: GatewayClient, conids: Iterable[Conid]) -> list[Row]:
    """Return the definitions that IBKR has; a request that fails gives none.

    Raises:
        FeedInterrupted: There is no login, or IBKR locks this user out.
    """
    rows: list[Row] = []
    wanted = list(conids)
    for start in range(0, len(wanted), _MOST_AT_ONCE):
        some = wanted[start : start + _MOST_AT_ONCE]
        try:
            params = {"conids": ",".join(map(str, some))}
            answer = await client.request("GET", _PATH, params=params)
        except FeedInterrupted as exc:
            if exc.retry_after is not None or exc.http_status == _NO_LOGIN:
                raise
            logger.warning("ibkr.definitions contracts=%d reason=%s", len(some), exc)
            continue
        rows += map(read_row, _entries(answer))
    return rows


def _entries(answer: object) -> Sequence[object]:
    found = answer.get("secdef") if isinstance(answer, dict) else answer
    return found if isinstance(found, list) else ()
