"""The positions and the identities of contracts, remembered across connections."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from decimal import Decimal

import msgspec

from greeks_trio.brokers.ibkr.lines.plan import NOTHING, Plan, make_plan
from greeks_trio.brokers.ibkr.positions.positions import AccountPositions
from greeks_trio.brokers.ibkr.positions.rows import Listing
from greeks_trio.brokers.ibkr.search import resolve_watchlist, search_symbol
from greeks_trio.brokers.ibkr.session import GatewaySession
from greeks_trio.config.settings import IbkrConfig
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.position_log import PositionLog
from greeks_trio.model.contracts import Conid, ContractKey
from greeks_trio.model.positions import holders_by_contract
from greeks_trio.model.records import Position

logger = logging.getLogger(__name__)


class PortfolioView(msgspec.Struct, frozen=True):
    """One look at positions and watch-list.

    Attributes:
        wanted: How many contracts should be streamed.
        unknown: Watched contracts that IBKR does not know.
        unidentified: The position rows that could not be read, by account and conid.
        missing_accounts: Configured accounts that the login does not have.
    """

    plan: Plan
    wanted: int
    unknown: tuple[ContractKey, ...] = ()
    unidentified: tuple[str, ...] = ()
    missing_accounts: tuple[str, ...] = ()


class Portfolio:
    """Reads positions and watch-list and plans the subscriptions.

    A contract's identity and conid never change, so each is kept once it is found.
    """

    def __init__(self, health: FeedHealth, position_log: PositionLog) -> None:
        self._health = health
        self._position_log = position_log
        self._known: dict[Conid, Listing] = {}
        self._listings: dict[ContractKey, Listing] = {}
        self._unknown: set[ContractKey] = set()
        self._positions: tuple[Position, ...] = ()
        # Of an answer in several pages, which may lack a row that has just moved.
        self._missed_once: set[tuple[str, ContractKey]] = set()
        self._unidentified: tuple[str, ...] = ()
        self._account_ids: tuple[str, ...] = ()

    async def read_first(self, session: GatewaySession, config: IbkrConfig) -> None:
        """Read the positions for a new connection; read a cold answer again.

        Raises:
            FeedInterrupted: The gateway did not answer, or not well.
        """
        self._unknown.clear()
        account_ids = await session.accounts.choose(config.accounts)
        reading = await session.accounts.read(account_ids, self._known)
        # A snapshot closes the positions that it does not name, so a cold one is not
        # recorded.
        is_partial = reading.is_cold and bool(reading.unidentified)
        self._take(session, account_ids, reading, record=not is_partial)

    async def read(self, session: GatewaySession, config: IbkrConfig) -> None:
        """Read the positions; record them if they have changed.

        Raises:
            FeedInterrupted: The gateway did not answer, or not well.
        """
        account_ids = await session.accounts.choose(config.accounts)
        reading = await session.accounts.read_once(account_ids, self._known)
        if self._positions and not (reading.positions or reading.unidentified):
            # A session that was just lost or opened anew also answers like this.  A new
            # one wants a request for the accounts first.
            await session.require_established()
            session.accounts.forget()
            account_ids = await session.accounts.choose(config.accounts)
            reading = await session.accounts.read(account_ids, self._known)
        self._take(session, account_ids, reading, record=True)

    def _take(
        self,
        session: GatewaySession,
        account_ids: tuple[str, ...],
        reading: AccountPositions,
        *,
        record: bool,
    ) -> None:
        self._count(reading)
        self._listings.update(reading.listings)
        self._account_ids = account_ids
        self._unidentified = tuple(
            f"account {account_id} conid {'unknown' if conid is None else conid}"
            for account_id, conid in reading.unread
        )
        incomplete = self._incomplete(reading)
        carried = self._carried(
            account_ids, reading, session.accounts.several_pages, incomplete
        )
        self._positions = (*reading.positions, *carried)
        if record:
            self._position_log.read(account_ids, self._positions, incomplete=incomplete)

    async def resolve_next(self, session: GatewaySession, config: IbkrConfig) -> bool:
        """Look up the watched contracts of one symbol; return whether there were any.

        Raises:
            FeedInterrupted: There is no login, or IBKR locks this user out.
        """
        missing = [
            key
            for key in config.watchlist
            if key not in self._listings and key not in self._unknown
        ]
        if not missing:
            return False
        symbol = search_symbol(missing[0])
        keys = [key for key in missing if search_symbol(key) == symbol]
        found, unknown = await resolve_watchlist(session, keys)
        self._listings.update(found)
        self._unknown.update(unknown)
        if unknown:
            self._health.count("watchlist.unknown", len(unknown))
        return True

    def view(self, config: IbkrConfig, before: Plan = NOTHING) -> PortfolioView:
        """Return the contracts to stream, by the present knowledge."""
        holders = holders_by_contract(self._positions, config.watchlist)
        plan = make_plan(
            holders, self._listings, max_lines=config.market_data_lines, before=before
        )
        return PortfolioView(
            plan,
            len(holders),
            tuple(key for key in holders if key in self._unknown),
            self._unidentified,
            tuple(each for each in config.accounts if each not in self._account_ids),
        )

    def retry_unknown(self) -> None:
        """Search again for the watched contracts that IBKR did not know."""
        self._unknown.clear()

    def _incomplete(self, reading: AccountPositions) -> set[str]:
        """Return the accounts with an unread row of an unknown contract.

        The row may be a position that an earlier run has recorded.
        """
        known = {
            (each.account_id, listing.conid)
            for each in (*reading.positions, *self._positions)
            if (listing := self._listings.get(each.contract_key)) is not None
        }
        return {
            account_id
            for account_id, conid in reading.unread
            if (account_id, conid) not in known
        }

    def _carried(
        self,
        account_ids: Sequence[str],
        reading: AccountPositions,
        several_pages: set[str],
        incomplete: set[str],
    ) -> list[Position]:
        """Return earlier positions that are not in the answer, but belong into a snapshot.

        Such a position may still be open, because its row may be unread.  Or it is
        closed, and its account is incomplete: then its quantity is 0.
        """
        named = {(each.account_id, each.contract_key) for each in reading.positions}
        kept, closed = [], []
        missed_now: set[tuple[str, ContractKey]] = set()
        for each in self._positions:
            name = (each.account_id, each.contract_key)
            if name in named or each.account_id not in account_ids:
                continue
            if each.quantity and self._may_be_unread(each, reading):
                kept.append(each)
            elif (
                each.quantity
                and each.account_id in several_pages
                and name not in self._missed_once
            ):
                missed_now.add(name)
                kept.append(each)
            elif each.account_id in incomplete:
                closed.append(msgspec.structs.replace(each, quantity=Decimal(0)))
        self._missed_once = missed_now
        if kept:
            self._health.count("position.kept", len(kept))
        return kept + closed

    def _may_be_unread(self, position: Position, reading: AccountPositions) -> bool:
        """Return whether a row that could not be read may be this position."""
        listing = self._listings.get(position.contract_key)
        return any(
            account_id == position.account_id
            and (listing is None or conid is None or conid == listing.conid)
            for account_id, conid in reading.unread
        )

    def _count(self, reading: AccountPositions) -> None:
        for reason in reading.unidentified:
            self._health.count(f"position.{reason}")
        if reading.unidentified:
            logger.warning(
                "ibkr.positions_unidentified rows=%d reasons=%s",
                len(reading.unidentified),
                ",".join(sorted(set(reading.unidentified))),
            )
