"""What the feed knows of the contracts, across connections: identities and holders."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import msgspec

from greeks_trio.brokers.ibkr.contracts import resolve_watchlist
from greeks_trio.brokers.ibkr.positions import Holdings, Listing
from greeks_trio.brokers.ibkr.session import GatewaySession
from greeks_trio.brokers.ibkr.subscriptions import NOTHING, Plan, make_plan
from greeks_trio.config import IbkrConfig
from greeks_trio.model.contracts import Conid, ContractKey
from greeks_trio.model.positions import holders_by_contract
from greeks_trio.pipeline.health import SessionHealth

logger = logging.getLogger(__name__)


class PortfolioView(msgspec.Struct, frozen=True):
    """One look at positions and watch-list.

    Attributes:
        wanted: How many contracts should be streamed.
        unknown: Watched contracts that IBKR does not know.
        unidentified: How many position rows could not be read.
    """

    plan: Plan
    wanted: int
    unknown: tuple[ContractKey, ...]
    unidentified: int


class Portfolio:
    """Reads positions and watch-list and plans the subscriptions.

    A contract's identity and conid never change, so what was found once is kept.
    """

    def __init__(self, health: SessionHealth) -> None:
        self._health = health
        self._known: dict[Conid, Listing] = {}
        self._watched: dict[ContractKey, Listing] = {}
        self._unknown: set[ContractKey] = set()

    async def read(
        self, session: GatewaySession, config: IbkrConfig, before: Plan = NOTHING
    ) -> PortfolioView:
        """Return what to stream; journals the positions when they have changed.

        Without a plan ``before``, which is when a connection begins, it is patient
        with a cold answer and asks again for what IBKR did not know.

        Raises:
            FeedInterrupted: the gateway did not answer, or not well.
        """
        account_ids = await session.account_ids(config.accounts)
        is_first = before is NOTHING
        if is_first:
            self._unknown.clear()
            holdings = await session.read_holdings(account_ids, self._known)
        else:
            holdings = await session.read_holdings_once(account_ids, self._known)
            if before.options and not (holdings.positions or holdings.unidentified):
                # That is also how a session looks that has just been lost.
                await session.require_established()
        self._count(holdings)
        # A snapshot closes what it does not name, so a cold one must not count.
        if not (is_first and holdings.is_cold and holdings.unidentified):
            self._health.positions_read(account_ids, holdings.positions)
        holders = holders_by_contract(holdings.positions, config.watchlist)
        await self._resolve(session, holders, holdings)
        listings = {**self._watched, **holdings.listings}
        plan = make_plan(
            holders, listings, max_lines=config.market_data_lines, before=before
        )
        unknown = tuple(key for key in holders if key not in listings)
        return PortfolioView(plan, len(holders), unknown, len(holdings.unidentified))

    def retry_unknown(self) -> None:
        """Ask again for watched contracts that IBKR did not know."""
        self._unknown.clear()

    async def _resolve(
        self,
        session: GatewaySession,
        keys: Iterable[ContractKey],
        holdings: Holdings,
    ) -> None:
        by_key = {each.contract.contract_key: each for each in self._known.values()}
        missing = [
            key
            for key in keys
            if key not in holdings.listings
            and key not in self._watched
            and key not in self._unknown
        ]
        for key in missing:
            if key in by_key:  # held until a moment ago
                self._watched[key] = by_key[key]
        found, unknown = await resolve_watchlist(
            session, (key for key in missing if key not in by_key)
        )
        self._watched.update(found)
        self._unknown.update(unknown)
        if unknown:
            self._health.count("watchlist.unknown", len(unknown))

    def _count(self, holdings: Holdings) -> None:
        for reason in holdings.unidentified:
            self._health.count(f"position.{reason}")
        if holdings.unidentified:
            logger.warning(
                "ibkr.positions_unidentified rows=%d reasons=%s",
                len(holdings.unidentified),
                ",".join(sorted(set(holdings.unidentified))),
            )
