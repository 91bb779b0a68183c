"""The contracts of one connection, their holders and underlying prices.  Pure.

It lives as long as the connection, so no price outlives its source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec

from greeks_trio.brokers.tastytrade.positions.positions import WantedContract
from greeks_trio.brokers.tastytrade.wire.messages import (
    GreeksEvent,
    QuoteEvent,
    TradeEvent,
)
from greeks_trio.brokers.tastytrade.wire.requests import Subscription
from greeks_trio.errors import BadQuote
from greeks_trio.model.contracts import ContractKey, StreamerSymbol
from greeks_trio.model.normalise import normalise
from greeks_trio.model.records import Availability, Tick


class SubscriptionChanges(msgspec.Struct, frozen=True):
    """The difference between the subscriptions and the wanted contracts."""

    add: tuple[Subscription, ...]
    remove: tuple[Subscription, ...]


class WantedContracts:
    """The wanted contracts by streamer symbol."""

    def __init__(self, availability: Availability) -> None:
        self._availability: Availability = availability
        self._wanted: dict[StreamerSymbol, WantedContract] = {}
        # A dict for its order; the values mean nothing.
        self._subscriptions: dict[Subscription, None] = {}
        # The underlyings whose prices are wanted.  An event may still arrive after the end
        # of its subscription; it must not leave a price behind.
        self._underlyings: set[StreamerSymbol] = set()
        self._last_trades: dict[StreamerSymbol, float] = {}
        self._middles: dict[StreamerSymbol, float] = {}

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """Everything that is wanted, underlyings first."""
        return tuple(self._subscriptions)

    def replace(
        self, wanted: Mapping[ContractKey, WantedContract]
    ) -> SubscriptionChanges:
        """Take the wanted contracts and return the changes of the subscriptions.

        A contract that stays is in neither list, also when its holders changed.
        """
        before, after = self._subscriptions, _subscriptions(wanted)
        self._wanted = {each.symbol: each for each in wanted.values()}
        self._subscriptions = after
        removed = tuple(each for each in before if each not in after)
        self._underlyings = {each.symbol for each in after if each.type == "Trade"}
        for prices in (self._last_trades, self._middles):
            for symbol in prices.keys() - self._underlyings:
                del prices[symbol]
        added = tuple(each for each in after if each not in before)
        return SubscriptionChanges(added, removed)

    def take_trade(self, event: TradeEvent) -> None:
        """Remember an underlying's last trade; one without a price says nothing."""
        if event.price is not None and event.symbol in self._underlyings:
            self._last_trades[event.symbol] = event.price

    def take_quote(self, event: QuoteEvent) -> None:
        """Remember the middle of an underlying's market; half a market has none."""
        if event.bid is None or event.ask is None:
            self._middles.pop(event.symbol, None)
        elif event.symbol in self._underlyings:
            self._middles[event.symbol] = (event.bid + event.ask) / 2.0

    def ticks(
        self,
        event: GreeksEvent,
        *,
        received_at: datetime,
        read_at: float,
        count: Callable[[str], object],
    ) -> list[Tick]:
        """Return the event's ticks, one for each holder; see `normalise`.

        Raises:
            BadQuote: The contract is not wanted, or the event has no Greek.
        """
        wanted = self._wanted.get(event.symbol)
        if wanted is None:
            raise BadQuote("unknown-symbol")
        return normalise(
            event,
            wanted.contract,
            wanted.holders,
            broker="tastytrade",
            availability=self._availability,
            underlying_price=self._underlying_price(wanted.underlying_symbol),
            received_at=received_at,
            read_at=read_at,
            count=count,
        )

    def _underlying_price(self, symbol: StreamerSymbol | None) -> float | None:
        if symbol is None:
            return None
        price = self._last_trades.get(symbol)
        return self._middles.get(symbol) if price is None else price


def _subscriptions(
    wanted: Mapping[ContractKey, WantedContract],
) -> dict[Subscription, None]:
    """Return the entries, underlyings first so that the first ticks have a price."""
    entries: dict[Subscription, None] = {}
    for each in wanted.values():
        if each.underlying_symbol is not None:
            entries[Subscription("Trade", each.underlying_symbol)] = None
            entries[Subscription("Quote", each.underlying_symbol)] = None
    for each in wanted.values():
        entries[Subscription("Greeks", each.symbol)] = None
    return entries
