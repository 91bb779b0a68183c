"""Watched contracts without a position -> their conids, by IBKR's contract search.

Source: https://ibkrcampus.com/campus/ibkr-api-page/cpapi-v1/#contract
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec
import trio

from greeks_trio.brokers.ibkr.positions.rows import Listing
from greeks_trio.brokers.ibkr.session import GatewaySession
from greeks_trio.errors import FeedInterrupted
from greeks_trio.model.contracts import (
    Conid,
    ContractKey,
    OptionContract,
    contract_from_occ,
    parse_occ,
    plain,
)

logger = logging.getLogger(__name__)

# An option with settlement in the morning trades for the last time on the day before it
# expires.  IBKR's date is that day, and a long weekend may lie in between.
_LAST_TRADE_BEFORE: Final = timedelta(days=4)
# The same symbol is listed in several countries; the first ones are the likely ones.
_CANDIDATES: Final = 3
_NO_LOGIN: Final = 401


class _Option(msgspec.Struct, rename="camel"):
    """The fields of a found contract that are used."""

    conid: int
    maturity_date: str
    right: str
    strike: Decimal
    desc2: str | None = None
    trading_class: str | None = None
    multiplier: Decimal | None = None
    currency: str | None = None


def search_symbol(key: ContractKey) -> str | None:
    """Return the symbol for the search of the contract.

    Returns `None` for a futures option: its key does not name the future.
    """
    try:
        return contract_from_occ(key).underlying.replace("/", " ")
    except ValueError:
        return None


async def resolve_watchlist(
    session: GatewaySession, wanted: Iterable[ContractKey]
) -> tuple[dict[ContractKey, Listing], list[ContractKey]]:
    """Return the listings of the contracts, and the contracts that IBKR does not know.

    A contract with a failed search counts as not known: a typing error in the watch-list
    must not stop the stream of the positions.

    Raises:
        FeedInterrupted: There is no login, or IBKR locks this user out.
    """
    found: dict[ContractKey, Listing] = {}
    unknown: list[ContractKey] = []
    underlyings: dict[str, Sequence[Conid]] = {}
    for key in wanted:
        try:
            listing = await _search(session, key, underlyings)
        except FeedInterrupted as exc:
            if exc.retry_after is not None or exc.http_status == _NO_LOGIN:
                raise
            logger.warning("ibkr.watchlist contract=%s reason=%s", key, exc)
            listing = None
        if listing is None:
            unknown.append(key)
            logger.warning("ibkr.watchlist_unknown contract=%s", key)
        else:
            found[key] = listing
    return found, unknown


async def _search(
    session: GatewaySession, key: ContractKey, underlyings: dict[str, Sequence[Conid]]
) -> Listing | None:
    """Find one contract; ``underlyings`` remembers the answers by symbol."""
    symbol = search_symbol(key)
    if symbol is None:
        await trio.lowlevel.checkpoint()
        return None
    contract = contract_from_occ(key)
    if symbol not in underlyings:
        answer = await session.request(
            "GET", "/iserver/secdef/search", params={"symbol": symbol}
        )
        underlyings[symbol] = _underlyings(answer, symbol)[:_CANDIDATES]
    for underlying in underlyings[symbol]:
        answer = await session.request(
            "GET",
            "/iserver/secdef/info",
            params={
                "conid": str(underlying),
                "sectype": "OPT",
                "month": contract.expiration.strftime("%b%y").upper(),
                "strike": str(contract.strike),
                "right": "C" if contract.option_type == "call" else "P",
            },
        )
        listing = _match(answer, contract, underlying)
        if listing is not None:
            return listing
    return None


def _underlyings(answer: object, symbol: str) -> Sequence[Conid]:
    """Return the conids that carry options, those with the very symbol first."""
    entries = [each for each in _list(answer) if isinstance(each, dict)]
    entries.sort(key=lambda entry: entry.get("symbol") != symbol)
    conids = []
    for entry in entries:
        text = str(entry.get("conid", ""))
        sections = _list(entry.get("sections"))
        has_options = any(
            isinstance(each, dict) and each.get("secType") == "OPT" for each in sections
        )
        if text.isdecimal() and (has_options or not sections):
            conids.append(Conid(int(text)))
    return conids


def _match(
    answer: object, contract: OptionContract, underlying: Conid
) -> Listing | None:
    root = parse_occ(contract.contract_key).root
    for content in _list(answer):
        try:
            option = msgspec.convert(content, _Option, strict=False)
        except (msgspec.ValidationError, ArithmeticError):
            continue
        if (
            (option.trading_class or "").replace(" ", "") == root
            # The same class, day and strike may be listed at Eurex, in euros.
            and option.currency in (None, "", "USD")
            and _matures(option, contract.expiration)
            and option.strike == contract.strike
            and option.right[:1] == ("C" if contract.option_type == "call" else "P")
        ):
            multiplier = plain(option.multiplier) if option.multiplier else None
            named = msgspec.structs.replace(contract, multiplier=multiplier)
            return Listing(named, Conid(option.conid), underlying)
    return None


def _matures(option: _Option, expiration: date) -> bool:
    try:
        day = datetime.strptime(option.maturity_date, "%Y%m%d").date()  # noqa: DTZ007
    except ValueError:
        return False
    if "(AM)" in (option.desc2 or ""):
        return timedelta() <= expiration - day <= _LAST_TRADE_BEFORE
    return day == expiration


def _list(content: object) -> list[Any]:
    return content if isinstance(content, list) else []
