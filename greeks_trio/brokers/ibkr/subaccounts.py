"""The accounts of an advisor's clients.

Source: https://ibkrcampus.com/campus/ibkr-api-page/cpapi-v1/#portfolio-subaccounts
"""

from __future__ import annotations

import logging
from typing import Any, Final

import msgspec

from greeks_trio.brokers.ibkr.rest import GatewayClient
from greeks_trio.errors import FeedInterrupted

logger = logging.getLogger(__name__)

# The plain list has at most this many; a longer one comes in pages.
_MOST_IN_LIST: Final = 100
# More pages than any advisor has; a gateway may ignore the page and never end.
_PAGE_CAP: Final = 200
_NO_LOGIN: Final = 401


class ClientAccounts(msgspec.Struct, frozen=True):
    """The accounts of an advisor's clients.

    Attributes:
        entries: One for each account.
        problem: The reason why some may be missing, for a person.
    """

    entries: list[Any]
    problem: str | None = None


async def read_subaccounts(client: GatewayClient) -> ClientAccounts:
    """Return the clients' accounts: the plain list, or all pages of a long one.

    Raises:
        FeedInterrupted: There is no login, or IBKR locks this user out.
    """
    found: list[Any] = []
    try:
        found = _entries(await client.request("GET", "/portfolio/subaccounts"))
        if found and len(found) < _MOST_IN_LIST:
            return ClientAccounts(found)
    except FeedInterrupted as exc:
        _raise_if_refused(exc)
    try:
        return ClientAccounts(await _read_pages(client))
    except FeedInterrupted as exc:
        _raise_if_refused(exc)
        return ClientAccounts(
            found, f"not all accounts of the IBKR advisor's clients are known: {exc}"
        )


def _raise_if_refused(exc: FeedInterrupted) -> None:
    if exc.retry_after is not None or exc.http_status == _NO_LOGIN:
        raise exc
    logger.warning("ibkr.subaccounts reason=%s", exc)


async def _read_pages(client: GatewayClient) -> list[Any]:
    entries: dict[str, Any] = {}
    for page in range(_PAGE_CAP):
        answer = await client.request(
            "GET", "/portfolio/subaccounts2", params={"page": str(page)}
        )
        before = len(entries)
        entries |= {str(each): each for each in _entries(answer)}
        if len(entries) == before or len(entries) >= _total(answer):
            return list(entries.values())
    raise FeedInterrupted("the IBKR gateway has no last page of client accounts")


def _entries(answer: object) -> list[Any]:
    found = answer.get("subaccounts") if isinstance(answer, dict) else answer
    return found if isinstance(found, list) else []


def _total(answer: object) -> float:
    """Return how many accounts there are; infinity if the answer does not say."""
    metadata = answer.get("metadata") if isinstance(answer, dict) else None
    total = metadata.get("total") if isinstance(metadata, dict) else None
    return total if type(total) is int else float("inf")
