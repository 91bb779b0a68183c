"""Accounts and positions over REST: page after page, and again while they are cold.

Source: https://ibkrcampus.com/campus/ibkr-api-page/cpapi-v1/#portfolio
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec
import trio

from greeks_trio.brokers.ibkr.definitions import Definitions
from greeks_trio.brokers.ibkr.positions.account_values import read_summary
from greeks_trio.brokers.ibkr.positions.known import KnownContracts
from greeks_trio.brokers.ibkr.positions.positions import (
    AccountPositions,
    GivenRow,
    read_positions,
)
from greeks_trio.brokers.ibkr.rest import GatewayClient
from greeks_trio.brokers.ibkr.subaccounts import read_subaccounts
from greeks_trio.errors import FeedInterrupted
from greeks_trio.foreign_text import is_account_id
from greeks_trio.model.account_values import SentValues
from greeks_trio.model.contracts import Conid
from greeks_trio.waiting import run_in_slices

# The first read of a session is cold, the second one usually is not.
_COLD_DELAYS_S: Final = (0.5, 1.0, 2.0, 2.0)
# An option first, then its future.
_DEFINITION_ROUNDS: Final = 2
# Gateways before 2022 send 30 rows a page, later ones 100; not all give the number.
_SMALLEST_PAGE: Final = 30
# Without an answer, or with one of these, a request for another account fails, too.
_OF_ALL_ACCOUNTS: Final = (None, 401, 429, 503)
# More positions than any account has; a gateway may ignore the page and never end.
_PAGE_CAP: Final = 100


class Accounts:
    """The accounts of one login and their positions.

    The asynchronous methods raise `FeedInterrupted` like `GatewayClient.request`.

    Attributes:
        problem: The reason why accounts may be missing; `None` if all are known.
    """

    def __init__(self, client: GatewayClient) -> None:
        self._client = client
        self._definitions = Definitions(client)
        self.problem: str | None = None
        self._ids: tuple[str, ...] | None = None

    async def choose(self, wanted: Sequence[str] = ()) -> tuple[str, ...]:
        """Return the login's accounts; only the wanted ones if any are named.

        Sends the requests once.  IBKR wants them before any request for positions.  An
        advisor's login has its clients' accounts, too.
        """
        if self._ids is None:
            entries = [
                entry
                for each in _rows(
                    await self._client.request("GET", "/portfolio/accounts")
                )
                if (entry := _mapping(each))
            ]
            self._ids = await self._with_clients(entries)
        chosen = tuple(each for each in self._ids if not wanted or each in wanted)
        if chosen:
            return chosen
        if not self._ids:
            # Asked again with the next positions; a session that is cold says this.
            self._ids = None
            raise FeedInterrupted(
                "the IBKR gateway names no account; it may still be starting"
            )
        raise FeedInterrupted(
            f"the IBKR login has no account {' or '.join(wanted)} (IBKR_ACCOUNTS)"
        )

    def forget(self) -> None:
        """Make the next `choose` send its requests: the session may be another one."""
        self._ids = None

    async def read(
        self, account_ids: Sequence[str], known: KnownContracts
    ) -> AccountPositions:
        """Return the positions; read again while the answer is cold.

        After a few reads it returns the last answer, even if it is cold.
        """
        reading = await self.read_once(account_ids, known)
        for delay in _COLD_DELAYS_S:
            if not reading.is_cold:
                break
            await trio.sleep(delay)
            before, reading = reading, await self.read_once(account_ids, known)
            if reading.unreadable == before.unreadable and _is_complete(reading):
                # A row that nothing identifies must not hold back the others.
                break
        return reading

    async def read_once(
        self, account_ids: Sequence[str], known: KnownContracts
    ) -> AccountPositions:
        """Return the positions of the accounts, all pages.

        Requests the definitions of the contracts that the rows do not describe.  An
        account that IBKR refuses is named in the reading, and hides no other.
        """
        given, unread = await self._read_accounts(account_ids)
        rows = [row for row in given if row.belongs_here(account_ids)]
        reading = await run_in_slices(read_positions(rows, known))
        requested: set[Conid] = set()
        for _ in range(_DEFINITION_ROUNDS):
            wanted = {
                conid: text
                for conid, text in reading.undefined.items()
                if conid not in requested
            }
            if not wanted:
                break
            requested.update(wanted)
            known.define(await self._definitions.read(wanted), wanted)
            reading = await run_in_slices(read_positions(rows, known))
        return msgspec.structs.replace(reading, unread=unread)

    async def read_values(self, account_id: str) -> SentValues | None:
        """Return the values of one account, `None` if the answer has another form."""
        path = f"/portfolio/{quote(account_id, safe='')}/summary"
        return read_summary(await self._client.request("GET", path))

    async def _read_accounts(
        self, account_ids: Sequence[str]
    ) -> tuple[list[GivenRow], dict[str, str]]:
        """Return the rows, and why the accounts without an answer have none.

        Raises:
            FeedInterrupted: No account has an answer, or the login is the reason.
        """
        rows: list[GivenRow] = []
        unread: dict[str, str] = {}
        for account_id in account_ids:
            try:
                rows += await self._read_account(account_id)
            except FeedInterrupted as exc:
                unread[account_id] = str(exc)
                is_last = len(unread) == len(account_ids)
                if is_last or exc.http_status in _OF_ALL_ACCOUNTS:
                    raise
        return rows, unread

    async def _with_clients(self, entries: list[dict[str, Any]]) -> tuple[str, ...]:
        """Return the accounts of these entries, and those of an advisor's clients."""
        self.problem = None
        if any(_is_advisor(entry) for entry in entries):
            clients = await read_subaccounts(self._client)
            self.problem = clients.problem
            entries = [*entries, *map(_mapping, clients.entries)]
        named = (entry.get("accountId") or entry.get("id") for entry in entries)
        ids = list(dict.fromkeys(str(each) for each in named if each))
        odd = [each for each in ids if not is_account_id(each)]
        if odd:
            words = (
                f"{len(odd)} account(s) with an impossible id are left out: {odd[0]!r}"
            )
            self.problem = "; ".join(filter(None, (self.problem, words)))
        return tuple(each for each in ids if each not in odd)

    async def _read_account(self, account_id: str) -> list[GivenRow]:
        rows: list[GivenRow] = []
        page_size = _SMALLEST_PAGE
        for page in range(_PAGE_CAP):
            found = _rows(
                await self._client.request(
                    "GET", f"/portfolio/{quote(account_id, safe='')}/positions/{page}"
                )
            )
            rows += (GivenRow(account_id, each, page) for each in found)
            if page == 0:
                page_size = _page_size(found)
            # A page of the old size counts as full.
            if len(found) < page_size and len(found) != _SMALLEST_PAGE:
                return rows
        raise FeedInterrupted(
            f"the IBKR gateway has no last page of positions for {account_id}",
            http_status=200,
        )


def _is_advisor(entry: dict[str, Any]) -> bool:
    return str(entry.get("faclient")).lower() == "true"


def _is_complete(reading: AccountPositions) -> bool:
    """Return whether every row that can be read tells all."""
    return all(each.is_complete for each in reading.instruments.values())


def _page_size(rows: list[Any]) -> int:
    """Return the number of rows in a full page, from a row of the first page.

    Without that number, any first page may be full.
    """
    for row in rows:
        size = _mapping(row).get("pageSize")
        if type(size) is int and size > 0:
            return size
    return max(_SMALLEST_PAGE, len(rows))


def _mapping(content: object) -> dict[str, Any]:
    return content if isinstance(content, dict) else {}


def _rows(content: object) -> list[Any]:
    if not isinstance(content, list):
        raise FeedInterrupted(
            f"the IBKR gateway answered without a list: {str(content)[:120]}",
            http_status=200,
        )
    return content
