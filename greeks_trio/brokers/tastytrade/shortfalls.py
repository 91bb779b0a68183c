"""The report of one connection to Tastytrade: its streamed and its missing contracts.

The quote server does not answer a subscription.  So a contract without Greeks is one that
does not exist, or whose model has no values yet, or whose request was lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Final

import trio

from greeks_trio.brokers.tastytrade.positions.positions import WantedContract
from greeks_trio.feeds.contract_gaps import ContractGaps, Missing
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.quiet import GREEKS_LIMIT_S, QuietSubscriptions
from greeks_trio.feeds.shortfalls import Shortfalls
from greeks_trio.feeds.stream_report import (
    DELAYED,
    WENT_SILENT,
    WITHOUT_GREEKS,
    WITHOUT_PRICE,
    show_missing,
)
from greeks_trio.model.contracts import ContractKey, StreamerSymbol
from greeks_trio.model.expiry import exchange_day, expiration_of, has_expired
from greeks_trio.model.gap_reasons import GapReason
from greeks_trio.model.records import Availability

# At most this many contracts get a gap of their own at a time, so that the gaps of one
# connection do not fill the journal.  Held contracts come first.
MAX_GAPS: Final = 200
_REFUSALS: Final = "subscriptions"
_WORDS: Final = {
    GapReason.UNKNOWN_CONTRACT: "contracts without a streamer symbol",
    GapReason.SUBSCRIPTION_REFUSED: "contracts that a refused request may include",
    GapReason.SUBSCRIPTION_SILENT: WENT_SILENT,
    GapReason.NO_GREEKS: WITHOUT_GREEKS,
}
_WORDS_OF_AVAILABILITY: Final[dict[Availability, str]] = {
    "delayed": DELAYED,
    "unknown": "subscriptions with market data of unknown availability",
}


class StreamReport:
    """Compares the wanted contracts with the events, and tells the health of the feed.

    Args:
        availability: How recent the data of the quote token are.
        has_price: Returns whether an underlying has a price, by its streamer symbol.
    """

    def __init__(
        self,
        health: FeedHealth,
        shortfalls: Shortfalls,
        gaps: ContractGaps,
        availability: Availability,
        has_price: Callable[[StreamerSymbol], bool],
    ) -> None:
        self._health = health
        self._shortfalls = shortfalls
        self._gaps = gaps
        self._availability = availability
        self._has_price = has_price
        self._quiet: QuietSubscriptions[StreamerSymbol] = QuietSubscriptions(
            are_answered=False
        )
        self._streamed: dict[ContractKey, str | None] = {}
        self._wanted: Mapping[ContractKey, WantedContract | None] = {}
        self._keys: dict[StreamerSymbol, ContractKey] = {}
        # Those of them that have brought no event on this connection.
        self._unheard: set[StreamerSymbol] = set()
        # When each underlying was wanted first.
        self._underlyings: dict[str, float] = {}
        # From a refusal until all requests were taken.
        self._in_doubt = False
        self._changed = trio.Event()

    # Transitions.

    def want(self, wanted: Mapping[ContractKey, WantedContract | None]) -> None:
        """Take the wanted contracts; `None` is one with an unknown streamer symbol."""
        known = {key: each for key, each in wanted.items() if each is not None}
        self._wanted = wanted
        keys = {each.symbol: key for key, each in known.items()}
        for symbol in self._keys.keys() - keys:
            self._quiet.forget(symbol)
        self._unheard &= keys.keys()
        self._unheard |= keys.keys() - self._keys.keys()
        self._keys = keys
        now, before = trio.current_time(), self._underlyings
        self._underlyings = {
            each.contract.underlying: before.get(each.contract.underlying, now)
            for each in known.values()
        }

    def requested(self, symbols: Iterable[StreamerSymbol]) -> None:
        """Note that the Greeks of these contracts are requested, or once more."""
        now = trio.current_time()
        for symbol in symbols:
            if symbol in self._keys:  # one may have been dropped meanwhile
                self._quiet.requested(symbol, now, is_option=True)

    def event(self, symbol: StreamerSymbol, now: float, *, has_greeks: bool) -> None:
        """Note an event of a contract, with or without a Greek in it."""
        is_news = self._quiet.frame(symbol, now, has_greeks=has_greeks)
        if symbol in self._unheard:
            self._unheard.remove(symbol)
            is_news = is_news or self._in_doubt
        if is_news:
            if has_greeks:
                self._gaps.end([self._keys[symbol]])
            self._changed.set()

    def refused(self, reason: str) -> None:
        """Note that the server refused a request; ``reason`` in its words."""
        self._in_doubt = True
        self._shortfalls.add(_REFUSALS, f"subscriptions refused: {reason}")
        self.update()

    def taken(self) -> None:
        """Note that the server has taken every request."""
        self._in_doubt = False
        self._shortfalls.clear(_REFUSALS)
        self.update()

    # For the tasks.

    async def wait_changed(self) -> None:
        """Wait until an event has given `update` something new to report."""
        await self._changed.wait()
        self._changed = trio.Event()

    def take_silent(self) -> list[StreamerSymbol]:
        """Return the contracts that went silent and are to be asked for again."""
        silent = self._quiet.take_silent(trio.current_time())
        for _ in silent:
            self._health.count("subscription.silent")
        return silent

    def update(self) -> None:
        """Report the numbers and names of the missing contracts; start and end gaps."""
        now = trio.current_time()
        expired = self._expired()
        missing = self._missing(now, expired)
        self._tell_streamed(expired)
        mute = len(self._unheard) if self._in_doubt else 0
        self._health.subscriptions(
            wanted=len(self._wanted), subscription_count=len(self._keys) - mute
        )
        self._health.greeks_awaited(
            warming=self._quiet.warming(),
            without_greeks=len(missing[GapReason.NO_GREEKS]),
        )
        self._update_gaps(missing, expired, now)
        names: dict[str, list[str]] = {
            _WORDS[reason]: [*keys] for reason, keys in missing.items()
        }
        names[WITHOUT_PRICE] = self._without_price(now, expired)
        if self._availability in _WORDS_OF_AVAILABILITY:
            words = _WORDS_OF_AVAILABILITY[self._availability]
            names[words] = [*self._keys.values()]
        show_missing(self._health, self._shortfalls, names, expired=sorted(expired))

    def _missing(
        self, now: float, expired: set[ContractKey]
    ) -> dict[GapReason, dict[ContractKey, float]]:
        """Return the contracts without data and the seconds since, by the reason."""
        unknown = [key for key, each in self._wanted.items() if each is None]
        mute = self._unheard if self._in_doubt else set()
        overdue = self._quiet.without_greeks(now).items()
        by_symbol = {
            GapReason.SUBSCRIPTION_REFUSED: dict.fromkeys(
                (each for each in self._keys if each in mute), 0.0
            ),
            GapReason.SUBSCRIPTION_SILENT: self._quiet.silent(now),
            GapReason.NO_GREEKS: {
                each: age for each, age in overdue if each not in mute
            },
        }
        found = {
            reason: {self._keys[symbol]: age_s for symbol, age_s in ages.items()}
            for reason, ages in by_symbol.items()
        }
        found[GapReason.UNKNOWN_CONTRACT] = dict.fromkeys(unknown, 0.0)
        return {
            reason: {key: age_s for key, age_s in ages.items() if key not in expired}
            for reason, ages in found.items()
        }

    def _tell_streamed(self, expired: set[ContractKey]) -> None:
        """Tell which contracts should tick, and their exchanges."""
        streamed = {
            key: each.contract.exchange
            for key, each in self._wanted.items()
            if each is not None and key not in expired
        }
        if streamed != self._streamed:
            self._streamed = streamed
            self._health.contracts_streamed(streamed, streamed)

    def _update_gaps(
        self,
        missing: Mapping[GapReason, Mapping[ContractKey, float]],
        expired: set[ContractKey],
        now: float,
    ) -> None:
        gaps: dict[ContractKey, Missing] = {
            key: (reason, age_s)
            for reason, ages in missing.items()
            for key, age_s in ages.items()
        }
        awaited = {
            key
            for symbol, key in self._keys.items()
            if key not in expired and not self._quiet.has_greeks(symbol)
        }
        first = dict(islice(gaps.items(), MAX_GAPS))
        self._gaps.update(first, awaited=awaited, now=now)

    def _without_price(self, now: float, expired: set[ContractKey]) -> list[str]:
        """Return the underlyings that should have a price by now, each once."""
        return sorted(
            {
                underlying
                for key, each in self._wanted.items()
                if each is not None and key not in expired
                if (underlying := each.contract.underlying) in self._underlyings
                and now - self._underlyings[underlying] >= GREEKS_LIMIT_S
                and (
                    each.underlying_symbol is None
                    or not self._has_price(each.underlying_symbol)
                )
            }
        )

    def _expired(self) -> set[ContractKey]:
        today = exchange_day(self._health.now())
        last_days = (
            (key, expiration_of(key) if each is None else each.contract.expiration)
            for key, each in self._wanted.items()
        )
        return {key for key, last in last_days if has_expired(last, today)}
