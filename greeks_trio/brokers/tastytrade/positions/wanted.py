"""The contracts of one connection, their holders and underlying prices.  Pure.

It lives as long as the connection, so no price outlives its source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec

from greeks_trio.brokers.tastytrade.positions.positions import WantedContract
from greeks_trio.brokers.tastytrade.positions.prices import UnderlyingPrices
from greeks_trio.brokers.tastytrade.wire.messages import (
    GreeksEvent,
    QuoteEvent,
    TradeEvent,
)
from greeks_trio.brokers.tastytrade.wire.requests import Subscription
from greeks_trio.errors import BadQuote
from greeks_trio.model.contracts import ContractKey, StreamerSymbol
from greeks_trio.model.normalise import normalise
from greeks_trio.model.possible import PriceKind
from greeks_trio.model.records import Availability, KeptPayloads, Tick
from greeks_trio.model.underlying_price import UnderlyingPrice


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
        self._underlyings: dict[StreamerSymbol, UnderlyingPrices] = {}

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
        self._underlyings = {
            symbol: self._prices_of(symbol, kind)
            for symbol, kind in _underlyings(wanted).items()
        }
        added = tuple(each for each in after if each not in before)
        return SubscriptionChanges(added, removed)

    def take_trade(
        self, event: TradeEvent, received_at: datetime, count: Callable[[str], object]
    ) -> None:
        """Remember an underlying's last trade; see `UnderlyingPrices.take_trade`."""
        prices = self._underlyings.get(event.symbol)
        if prices is not None:
            prices.take_trade(event, received_at, count)

    def take_quote(
        self, event: QuoteEvent, received_at: datetime, count: Callable[[str], object]
    ) -> None:
        """Remember the market of an underlying; see `UnderlyingPrices.take_quote`."""
        prices = self._underlyings.get(event.symbol)
        if prices is not None:
            prices.take_quote(event, received_at, count)

    def ticks(
        self,
        event: GreeksEvent,
        *,
        received_at: datetime,
        read_at: float,
        count: Callable[[str], object],
        kept_payloads: KeptPayloads = "full",
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
            kept_payloads=kept_payloads,
        )

    def has_price(self, symbol: StreamerSymbol) -> bool:
        """Return whether the underlying has had a price on this connection."""
        return self._underlying_price(symbol) is not None

    def _underlying_price(
        self, symbol: StreamerSymbol | None
    ) -> UnderlyingPrice | None:
        if symbol is None or symbol not in self._underlyings:
            return None
        return self._underlyings[symbol].price()

    def _prices_of(self, symbol: StreamerSymbol, kind: PriceKind) -> UnderlyingPrices:
        known = self._underlyings.get(symbol)
        return (
            known
            if known is not None and known.kind == kind
            else UnderlyingPrices(kind)
        )


def _underlyings(
    wanted: Mapping[ContractKey, WantedContract],
) -> dict[StreamerSymbol, PriceKind]:
    return {
        each.underlying_symbol: (
            "future" if each.contract.kind == "future_option" else "share"
        )
        for each in wanted.values()
        if each.underlying_symbol is not None
    }


def _subscriptions(
    wanted: Mapping[ContractKey, WantedContract],
) -> dict[Subscription, None]:
    """Return the entries, underlyings first so that the first ticks have a price."""
    entries: dict[Subscription, None] = {}
    for symbol, kind in _underlyings(wanted).items():
        entries[Subscription("Trade", symbol)] = None
        if kind != "future":  # futures trade around the clock, all in `Trade`
            entries[Subscription("TradeETH", symbol)] = None
        entries[Subscription("Quote", symbol)] = None
    for each in wanted.values():
        entries[Subscription("Greeks", each.symbol)] = None
    return entries
