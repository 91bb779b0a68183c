"""The positions and the identities of contracts, remembered across connections."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec
import trio

from greeks_trio.brokers.ibkr.lines.plan import Plan, make_plan
from greeks_trio.brokers.ibkr.positions.earlier import Holdings, Hole
from greeks_trio.brokers.ibkr.positions.identities import SharedKey
from greeks_trio.brokers.ibkr.positions.known import KnownContracts
from greeks_trio.brokers.ibkr.positions.positions import AccountPositions, Unreadable
from greeks_trio.brokers.ibkr.positions.rows import Listing
from greeks_trio.brokers.ibkr.search import resolve_watchlist, search_symbol
from greeks_trio.brokers.ibkr.session import GatewaySession
from greeks_trio.config.settings import IbkrConfig
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.position_log import PositionLog
from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.positions import holders_by_contract

logger = logging.getLogger(__name__)

# An answer that lacks a position is asked for again, until two agree.
_CONFIRM_AFTER_S: Final = 0.5
_CONFIRMATIONS: Final = 3
# The log names this many rows of one kind.
_NAMED: Final = 3


class PortfolioView(msgspec.Struct, frozen=True):
    """One look at positions and watch-list.

    Attributes:
        wanted: How many contracts should be streamed.
        unknown: Watched contracts that IBKR does not know.
        unreadable: The position rows that could not be read.
        shared_keys: The instruments that would have one key.
        holes: Contracts without a figure in money, by the missing fact.
        missing_accounts: Configured accounts that the login does not have.
        unread_accounts: The accounts that IBKR refuses to list, with the reasons.
        accounts_problem: The reason why the login may have more accounts.
        empty_accounts: The accounts, if none of them has a position.
    """

    plan: Plan
    wanted: int
    unknown: tuple[ContractKey, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    shared_keys: tuple[SharedKey, ...] = ()
    holes: Mapping[Hole, tuple[ContractKey, ...]] = {}
    missing_accounts: tuple[str, ...] = ()
    unread_accounts: Mapping[str, str] = {}
    accounts_problem: str | None = None
    empty_accounts: tuple[str, ...] = ()


class Portfolio:
    """Reads positions and watch-list and plans the subscriptions.

    Contracts are identified anew in each reading: a conid may become another contract.
    """

    def __init__(self, health: FeedHealth, position_log: PositionLog) -> None:
        self._health = health
        self._position_log = position_log
        self._known = KnownContracts()
        self._holdings = Holdings(self._known)
        self._searched: dict[ContractKey, Listing] = {}
        self._unknown: set[ContractKey] = set()
        self._account_ids: tuple[str, ...] = ()
        self._accounts_problem: str | None = None
        self._reading: AccountPositions | None = None

    async def read_first(self, session: GatewaySession, config: IbkrConfig) -> None:
        """Read the positions for a new connection; read a cold answer again.

        The table may have positions of an earlier run.  So no answer closes one before
        a second one agrees.

        Raises:
            FeedInterrupted: The gateway did not answer, or not well.
        """
        self._unknown.clear()
        self._known.outdate_definitions()
        account_ids = await session.accounts.choose(config.accounts)
        reading = await session.accounts.read(account_ids, self._known)
        if reading.is_empty:
            account_ids, reading = await self._read_anew(session, config)
        reading = await self._confirm(session, account_ids, reading)
        # A cold row may be any position of an earlier run.
        cold = {each.account_id for each in reading.unreadable}
        self._take(session, account_ids, reading, incomplete=cold)

    async def read(self, session: GatewaySession, config: IbkrConfig) -> None:
        """Read the positions; record them if they have changed.

        Raises:
            FeedInterrupted: The gateway did not answer, or not well.
        """
        account_ids = await session.accounts.choose(config.accounts)
        reading = await session.accounts.read_once(account_ids, self._known)
        if self._holdings.lacks(reading, account_ids):
            if reading.is_empty:
                account_ids, reading = await self._read_anew(session, config)
            reading = await self._confirm(session, account_ids, reading)
        self._take(session, account_ids, reading)

    async def _read_anew(
        self, session: GatewaySession, config: IbkrConfig
    ) -> tuple[tuple[str, ...], AccountPositions]:
        """Read again after an answer without a row.

        A session that was just lost or opened anew also answers like this.  A new one
        wants a request for the accounts first.
        """
        await session.require_established()
        session.accounts.forget()
        account_ids = await session.accounts.choose(config.accounts)
        return account_ids, await session.accounts.read(account_ids, self._known)

    async def _confirm(
        self,
        session: GatewaySession,
        account_ids: Sequence[str],
        reading: AccountPositions,
    ) -> AccountPositions:
        """Return a reading with the same rows as the one before it, if there is one.

        A lean answer, and a row that moves to another page, look like a sale.
        """
        for _ in range(_CONFIRMATIONS):
            await trio.sleep(_CONFIRM_AFTER_S)
            again = await session.accounts.read_once(account_ids, self._known)
            if (again.held(), again.unread) == (reading.held(), reading.unread):
                return again
            reading = again
        return reading

    def _take(
        self,
        session: GatewaySession,
        account_ids: tuple[str, ...],
        reading: AccountPositions,
        *,
        incomplete: Collection[str] = (),
    ) -> None:
        for change in self._known.take(reading.rows, reading.instruments):
            self._health.count("position.contract-changed")
            logger.warning("ibkr.contract_changed conid=%d %s", change.conid, change)
        self._note_problems(reading)
        self._account_ids = account_ids
        self._accounts_problem = session.accounts.problem
        self._reading = reading
        listed = self._holdings.listings
        kept = self._holdings.take(reading, account_ids, incomplete)
        if kept:
            self._health.count("position.kept", kept)
        self._keep_listings(listed)
        self._position_log.read(
            account_ids,
            self._holdings.positions,
            incomplete=self._holdings.incomplete,
        )

    def _keep_listings(self, listed: Mapping[ContractKey, Listing]) -> None:
        """Remember the contracts that are no longer held: they may be watched.

        A watched contract whose conid has become another contract is not known.
        """
        self._searched |= listed
        for key, listing in list(self._searched.items()):
            instrument = self._known.instrument(listing.conid)
            if instrument is not None and instrument.contract_key != key:
                del self._searched[key]
                self._unknown.add(key)

    async def resolve_next(self, session: GatewaySession, config: IbkrConfig) -> bool:
        """Look up the watched contracts of one symbol; return whether there were any.

        Raises:
            FeedInterrupted: There is no login, or IBKR locks this user out.
        """
        missing = [
            key
            for key in config.watchlist
            if key not in self._holdings.listings
            and key not in self._searched
            and key not in self._unknown
        ]
        if not missing:
            return False
        symbol = search_symbol(missing[0])
        keys = [key for key in missing if search_symbol(key) == symbol]
        found, unknown = await resolve_watchlist(session, keys)
        self._searched.update(found)
        self._unknown.update(unknown)
        if unknown:
            self._health.count("watchlist.unknown", len(unknown))
        return True

    @property
    def account_ids(self) -> tuple[str, ...]:
        """The accounts of the last reading."""
        return self._account_ids

    @property
    def has_unread_accounts(self) -> bool:
        """Whether IBKR refused to list an account in the last reading."""
        return self._reading is not None and bool(self._reading.unread)

    def view(self, config: IbkrConfig) -> PortfolioView:
        """Return the contracts to stream, by the present knowledge."""
        holdings, reading = self._holdings, self._reading
        holders = holders_by_contract(holdings.positions, config.watchlist)
        # A held contract is certain; a search may have found another one of this name.
        listings = self._searched | holdings.listings
        plan = make_plan(
            holders,
            listings,
            max_lines=config.market_data_lines,
            by_risk=config.rotation == "risk",
        )
        return PortfolioView(
            plan,
            len(holders),
            unknown=tuple(key for key in holders if key in self._unknown),
            unreadable=() if reading is None else reading.unreadable,
            shared_keys=() if reading is None else reading.shared_keys,
            holes=holdings.holes(),
            missing_accounts=tuple(
                each for each in config.accounts if each not in self._account_ids
            ),
            unread_accounts={} if reading is None else reading.unread,
            accounts_problem=self._accounts_problem,
            empty_accounts=() if holdings.are_any_open() else self._account_ids,
        )

    def retry_unknown(self) -> None:
        """Search again for the watched contracts that IBKR did not know."""
        self._unknown.clear()

    def _note_problems(self, reading: AccountPositions) -> None:
        """Log rows that cannot be read and shared keys, when there are new ones."""
        before = self._reading
        if reading.unreadable:
            self._health.count("position.unreadable", len(reading.unreadable))
        if before is None or before.unreadable != reading.unreadable:
            for each in reading.unreadable[:_NAMED]:
                logger.warning(
                    "ibkr.position_unreadable account=%s conid=%s text=%r reason=%s",
                    each.account_id,
                    each.conid,
                    each.text,
                    each.reason,
                )
            more = len(reading.unreadable) - _NAMED
            if more > 0:
                logger.warning("ibkr.positions_unreadable more=%d", more)
        for account_id, reason in reading.unread.items():
            self._health.count("positions.refused")
            if before is None or account_id not in before.unread:
                logger.warning(
                    "ibkr.account_unread account=%s reason=%s", account_id, reason
                )
        if before is None or before.shared_keys != reading.shared_keys:
            for shared in reading.shared_keys:
                logger.error(
                    "ibkr.shared_key key=%r conids=%s",
                    shared.contract_key,
                    ",".join(map(str, shared.conids)),
                )
