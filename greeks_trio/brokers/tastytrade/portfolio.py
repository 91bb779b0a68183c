"""The positions and the contracts to stream, remembered across connections."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from greeks_trio.brokers.tastytrade.instrument_pages import InstrumentPages
from greeks_trio.brokers.tastytrade.positions.accounts import (
    AccountPositions,
    changed_terms,
)
from greeks_trio.brokers.tastytrade.positions.instruments import (
    Completed,
    complete,
    needed_pages,
)
from greeks_trio.brokers.tastytrade.positions.positions import (
    WantedContract,
    wanted_contracts,
)
from greeks_trio.brokers.tastytrade.session import TastytradeSession
from greeks_trio.brokers.tastytrade.watched_options import WatchedOptions
from greeks_trio.config.settings import TastytradeConfig
from greeks_trio.errors import FeedInterrupted
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.position_log import PositionLog
from greeks_trio.feeds.shortfalls import Shortfalls
from greeks_trio.model.contracts import ContractKey

logger = logging.getLogger(__name__)

_PORTFOLIO: Final = "portfolio"
_INSTRUMENTS: Final = "instruments"
_WATCHED: Final = "watched futures options"
_RULES: Final = "streamer symbols by rule"
_ACCOUNTS: Final = "accounts"
# The state names this many problems.
_NAMED: Final = 3


class Portfolio:
    """Reads the accounts; the last reading replaces the parts that cannot be read.

    Attributes:
        wanted: The contracts to stream since the last `read`; `None` for a contract
            with an unknown streamer symbol.
        unread: The reason why the positions are from an earlier reading; `None` if
            they are new.
    """

    def __init__(self, health: FeedHealth, position_log: PositionLog) -> None:
        self._health = health
        self._position_log = position_log
        self.unread: str | None = None
        self.wanted: dict[ContractKey, WantedContract | None] = {}
        self._completed: Completed | None = None
        # The login and the accounts of the last reading.
        self._asked_for: tuple[object, object] | None = None
        self._pages = InstrumentPages()
        self._watched = WatchedOptions()
        # The problems in the log.
        self._told: frozenset[str] = frozenset()

    @property
    def account_ids(self) -> tuple[str, ...]:
        """The accounts that are streamed."""
        reading = self._reading
        return reading.account_ids if reading is not None else ()

    @property
    def needs_confirmation(self) -> bool:
        """Whether the positions should be read again soon."""
        return self._reading is not None and self._reading.needs_confirmation

    async def read_first(
        self, session: TastytradeSession, config: TastytradeConfig
    ) -> None:
        """Read for a new connection; take the last known positions if that fails.

        Streaming the last known positions is better than streaming nothing.  But a
        server that asks us to stay away for a time gets it.

        Raises:
            CredentialsRejected: the login was refused.
            FeedInterrupted: nothing can be read, and nothing is known.
        """
        if self._asked_for != (login_of(config), config.accounts):
            self._completed = None
        try:
            await self.read(session, config)
        except FeedInterrupted as exc:
            if self._completed is None or exc.retry_after is not None:
                raise
            self._health.count("positions.failed")
            self._choose(self._completed, config)
            self.unread = f"positions cannot be read: {exc}"

    async def read(self, session: TastytradeSession, config: TastytradeConfig) -> None:
        """Read the positions and record them.

        Raises:
            CredentialsRejected: the login was refused.
            FeedInterrupted: nothing can be read at present.
        """
        before = self._reading
        reading = await session.read_positions(config.accounts, before)
        pages = await self._pages.get(session, needed_pages(reading))
        self._completed = completed = complete(reading, pages)
        self.unread = None
        self._asked_for = login_of(config), config.accounts
        self._count(completed.reading)
        if before is not None:
            _tell_changes(before, completed.reading)
        self._position_log.read(
            [*completed.reading.account_ids, *completed.reading.closed],
            completed.reading.positions,
            incomplete=completed.reading.incomplete,
            closed=completed.reading.closed,
        )
        await self._watched.look_for(session, watched_futures_options(config, reading))
        self._choose(completed, config)

    def report(self, shortfalls: Shortfalls) -> None:
        """Show the problems; log each one when it is new."""
        completed = self._completed
        unknown = [str(key) for key, each in self.wanted.items() if each is None]
        found: dict[str, Sequence[str]] = {
            _PORTFOLIO: completed.reading.problems if completed is not None else (),
            _INSTRUMENTS: completed.problems if completed is not None else (),
            _WATCHED: self._watched.sentences(),
        }
        for thing, problems in found.items():
            if problems:
                shortfalls.add(thing, in_brief(problems))
            else:
                shortfalls.clear(thing)
        by_rule = completed.by_rule if completed is not None else ()
        _note(shortfalls, _RULES, by_rule, "streamer symbols by rule: ")
        _note(shortfalls, _ACCOUNTS, completed.reading.notes if completed else ())
        self._log_new(found, unknown)

    @property
    def _reading(self) -> AccountPositions | None:
        return self._completed.reading if self._completed is not None else None

    def _log_new(self, found: dict[str, Sequence[str]], unknown: Sequence[str]) -> None:
        for key in unknown:
            if key not in self._told:
                logger.warning("tastytrade.streamer_symbol_unknown contract=%s", key)
        problems = [*found[_PORTFOLIO], *found[_INSTRUMENTS]]
        for problem in problems:
            if problem not in self._told:
                logger.warning("tastytrade.position_unread problem=%s", problem)
        self._told = frozenset([*unknown, *problems])

    def _count(self, reading: AccountPositions) -> None:
        if reading.malformed:
            self._health.count("positions.malformed", reading.malformed)
        if reading.refused:
            self._health.count("positions.refused", reading.refused)

    def _choose(self, completed: Completed, config: TastytradeConfig) -> None:
        wanted, unknown = wanted_contracts(
            completed, config.watchlist, self._watched.found
        )
        self.wanted = {**wanted, **dict.fromkeys(unknown)}


def login_of(config: TastytradeConfig) -> tuple[object, ...]:
    """Return the settings that a connection cannot change."""
    return config.secret, config.refresh, config.api_url, config.streamer_url


def watched_futures_options(
    config: TastytradeConfig, reading: AccountPositions
) -> list[ContractKey]:
    """Return the futures options of the watch-list that no account holds."""
    held = {each.contract_key for each in reading.positions if each.quantity != 0}
    return [each for each in config.watchlist if each[:2] == "./" and each not in held]


def in_brief(sentences: Sequence[str]) -> str:
    """Return the first sentences and how many more there are."""
    more = len(sentences) - _NAMED
    first = "; ".join(sentences[:_NAMED])
    return f"{first} (and {more} more)" if more > 0 else first


def _note(
    shortfalls: Shortfalls, thing: str, sentences: Sequence[str], start: str = ""
) -> None:
    if sentences:
        shortfalls.note(thing, f"{start}{in_brief(sentences)}")
    else:
        shortfalls.clear(thing)


def _tell_changes(before: AccountPositions, after: AccountPositions) -> None:
    for account in sorted(set(before.account_ids).intersection(after.closed)):
        logger.warning(
            "tastytrade.account_closed account=%s: it holds nothing", account
        )
    for sentence in changed_terms(before.holdings, after.holdings):
        logger.warning("tastytrade.contract_changed %s", sentence)
