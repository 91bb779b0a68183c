"""The events of a simulated DXLink server: Greeks of options, prices of underlyings.

`GreeksTape` makes the events; active faults in its `Conditions` change them.  It remembers
the last event of each symbol and gives each event to the subscribed channels.  It writes
a tick into the ledger just before its first frame is sent.  Its only I/O is the ledger's
file; `run_tape` is its clock.

Units on this wire are the canonical ones (`greeks_trio.model.records`).

Source: dxFeed's Greeks, Quote and Trade schemas in the dxLink specification.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

import msgspec
import trio

from greeks_trio.model.contracts import format_streamer_symbol
from greeks_trio.model.records import Greeks
from greeks_trio.simulators.book.book import FLAWLESS, Imperfections
from greeks_trio.simulators.conditions import Conditions
from greeks_trio.simulators.deliveries import ClientDeliveries
from greeks_trio.simulators.ledger import Ledger, LedgerTick
from greeks_trio.simulators.market import Market, SimulatedOption, next_beat
from greeks_trio.simulators.pacing import Pacer
from greeks_trio.simulators.server.websocket import ServerWebSocket
from greeks_trio.simulators.tastytrade.dxlink_events import (
    UNSET,
    FeedEvent,
    greeks_event,
    ledger_ticks,
    quote_event,
    trade_event,
    unset_event,
)
from greeks_trio.simulators.tastytrade.instruments import price_symbol

PRICE_KINDS: Final = ("Quote", "Trade", "TradeETH")
# An old trade's price, relative to the present one.
_OLD_PRICE: Final = 0.8
_RHO_MISSING: Final = 0.03
_ONLY_DELTA: Final = 0.01
_NOTHING: Final = 0.002
_REDELIVERED: Final = 0.01
# Receives each event of a subscribed type and symbol; it must not wait.
Subscriber: TypeAlias = Callable[[FeedEvent], None]


class GreeksTape:
    """The events of one simulated broker; the same seed gives the same values.

    Attributes:
        conditions: The active faults; the server of the tape uses them too.
    """

    def __init__(
        self,
        market: Market,
        options: Sequence[SimulatedOption],
        ledger: Ledger,
        *,
        accounts_of: Callable[[str], Sequence[str]],
        seed: int,
        symbol_of: Callable[[SimulatedOption], str] | None = None,
        conditions: Conditions | None = None,
        imperfections: Imperfections = FLAWLESS,
    ) -> None:
        self.conditions = conditions or Conditions()
        self._market = market
        self._ledger = ledger
        self._accounts_of = accounts_of
        self._random = random.Random(seed)
        name = symbol_of or (lambda option: format_streamer_symbol(option.terms))
        self._options = {name(each): each for each in (*market.options, *options)}
        self.illiquid_symbols = frozenset(
            name(each)
            for number, each in enumerate(options, start=1)
            if (every := imperfections.illiquid_every) and number % every == 0
        )
        self._unset_share = imperfections.unset_share
        self._halted: set[str] = set()
        self._underlyings = {price_symbol(each): each for each in market.underlyings}
        self._last: dict[str, FeedEvent] = {}
        self._last_ms: dict[str, int] = {}
        self._subscribers: dict[tuple[str, str], dict[Subscriber, None]] = {}
        self._cold: dict[tuple[str, str, Subscriber], None] = {}
        # Delayed Greeks events, at most two of each subscribed symbol.
        self._late: list[FeedEvent] = []
        self._turns: list[str] = []
        self._subscribed = trio.Event()

    def subscribe(self, kind: str, symbol: str, subscriber: Subscriber) -> None:
        """Give the symbol's last event now, and all later ones; an unknown symbol has none."""
        if self.conditions.holds("cold"):
            self._cold[kind, symbol, subscriber] = None
            return
        self._subscribers.setdefault((kind, symbol), {})[subscriber] = None
        if kind == "Greeks" and self.has_greeks(symbol):
            subscriber(self._last.get(symbol) or self._next_greeks(symbol))
        elif (event := self._price_event(kind, symbol)) is not None:
            subscriber(event)
        self._subscribed.set()

    def unsubscribe(self, kind: str, symbol: str, subscriber: Subscriber) -> None:
        """Give this subscriber no more events of the symbol."""
        self._cold.pop((kind, symbol, subscriber), None)
        subscribers = self._subscribers.get((kind, symbol), {})
        subscribers.pop(subscriber, None)
        if not subscribers:
            self._subscribers.pop((kind, symbol), None)

    def has_greeks(self, symbol: str) -> bool:
        """Tell whether a subscription to the symbol's Greeks ever gives an event."""
        is_mute = symbol in self.illiquid_symbols or symbol in self._halted
        return symbol in self._options and not is_mute

    def halt(self, symbol: str) -> None:
        """Give no more Greeks of a symbol."""
        self._halted.add(symbol)

    @property
    def is_subscribed(self) -> bool:
        """Whether there is any subscription."""
        return bool(self._subscribers)

    async def wait_subscribed(self) -> None:
        """Return when there is a subscription."""
        while not self._subscribers:
            if self._subscribed.is_set():  # else another task waits for it already
                self._subscribed = trio.Event()
            await self._subscribed.wait()

    def emit_greeks(self, count: int) -> None:
        """Give the next ``count`` events to their subscribers; the symbols take turns."""
        if self.conditions.holds("market-closed"):
            return
        for _ in range(count):
            symbol = self._take_turn()
            if symbol is None:
                return
            event = self._next_greeks(symbol)
            if self.conditions.holds("reorder"):
                self._late.append(event)
                if len(self._late) >= 2 * len(self._subscribers):
                    self.give_late_events()
            else:
                self._give(event, again=self._random.random() < _REDELIVERED)

    def emit_prices(self, now: float) -> None:
        """Show the moved prices: one event of each kind and underlying to its subscribers.

        Args:
            now: Seconds, on the clock of the market.
        """
        self._market.show(now)
        if self.conditions.holds("market-closed"):
            return
        for symbol in self._underlyings:
            for kind in PRICE_KINDS:
                if (kind, symbol) in self._subscribers:
                    event = self._price_event(kind, symbol)
                    if event is not None:
                        self._give(event, again=False)

    def make_greeks(self, symbol: str) -> FeedEvent:
        """Return a new event of a symbol that has Greeks; subscribers do not get it."""
        return self._next_greeks(symbol)

    def give_late_events(self) -> None:
        """Give the delayed Greeks to their subscribers, the newest first."""
        late, self._late = self._late, []
        for event in reversed(late):
            self._give(event, again=False)

    def warm_up(self) -> None:
        """Start the subscriptions that were made during the fault ``cold``."""
        cold, self._cold = self._cold, {}
        for kind, symbol, subscriber in cold:
            self.subscribe(kind, symbol, subscriber)

    def forget_last_events(self) -> None:
        """Forget the last events, so that new subscribers get a new event first."""
        self._last.clear()

    def open_deliveries(self, socket: ServerWebSocket) -> ClientDeliveries:
        """Return the record of the ticks of a new client."""
        return self._ledger.deliveries.open("tastytrade", socket)

    def write_down(
        self, events: Iterable[FeedEvent], deliveries: ClientDeliveries
    ) -> None:
        """Write the ticks among these events into the ledger, each tick only once.

        ``deliveries`` is the record of the client that they are sent to.
        """
        now = time.monotonic()
        ticks: list[LedgerTick] = []
        sent: list[tuple[str, int]] = []
        for event in events:
            if (note := event.note) is None:
                continue
            sent.append((note.contract_key, note.event_time_ms))
            if not event.is_written:
                event.is_written = True
                accounts = self._accounts_of(note.contract_key)
                ticks += ledger_ticks(note, accounts, now)
        if ticks:
            self._ledger.write(ticks)
        deliveries.sent(sent)

    def _give(self, event: FeedEvent, *, again: bool) -> None:
        symbol = str(event.values["eventSymbol"])
        twice = again or self.conditions.holds("duplicate")
        for subscriber in self._subscribers.get((event.kind, symbol), ()):
            subscriber(event)
            if twice:
                subscriber(event)

    def _take_turn(self) -> str | None:
        """Return the next subscribed symbol: each once, then all in a new order."""
        for _ in range(2):
            while self._turns:
                symbol = self._turns.pop()
                if ("Greeks", symbol) in self._subscribers and self.has_greeks(symbol):
                    return symbol
            self._turns = [
                symbol
                for kind, symbol in self._subscribers
                if kind == "Greeks" and self.has_greeks(symbol)
            ]
            self._random.shuffle(self._turns)
        return None

    def _next_greeks(self, symbol: str) -> FeedEvent:
        option = self._options[symbol]
        self._market.move(option.underlying)
        whole = self._market.greeks(option)
        greeks = self._with_gaps(whole)
        price = None
        if greeks.vega is not None:
            price = max(self._market.price(option, whole), 0.0)
        time_ms = max(time.time_ns() // 1_000_000, self._last_ms.get(symbol, 0) + 1)
        event = greeks_event(symbol, option, greeks, time_ms, price=price)
        if self._unset_share and self._random.random() < self._unset_share:
            event = self._unset(event)
        self._last[symbol] = event
        self._last_ms[symbol] = time_ms
        return event

    def _with_gaps(self, greeks: Greeks) -> Greeks:
        chance = self._random.random()
        if chance < _NOTHING or self.conditions.holds("nan"):
            return Greeks()
        if chance < _NOTHING + _ONLY_DELTA:
            return Greeks(delta=greeks.delta)
        if chance < _NOTHING + _ONLY_DELTA + _RHO_MISSING:
            return msgspec.structs.replace(greeks, rho=None)
        return greeks

    def _unset(self, event: FeedEvent) -> FeedEvent:
        """Return the event with a number that means "unset" in place of one Greek."""
        lost = self._random.choice(sorted(UNSET))
        return unset_event(event, lost, self._random.choice(UNSET[lost]))

    def _price_event(self, kind: str, symbol: str) -> FeedEvent | None:
        """Return a new quote or trade, `None` for a symbol without prices."""
        underlying, now_ms = self._underlyings.get(symbol), time.time_ns() // 1_000_000
        if underlying is None or kind not in PRICE_KINDS:
            return None
        listing = underlying.tastytrade
        if listing is not None and listing.prices == "none":
            return None
        if kind == "Quote":
            return quote_event(symbol, underlying.price, now_ms)
        age_s = 0.0 if listing is None else listing.trade_age_s
        if not age_s:
            return trade_event(symbol, underlying.price, now_ms, kind=kind)
        # There was no trade since then, and the price was another one.
        old_ms = now_ms - int(age_s * 1000)
        return trade_event(symbol, underlying.price * _OLD_PRICE, old_ms, kind=kind)


async def run_tape(tape: GreeksTape, rate: float) -> None:
    """Emit ``rate`` Greeks events a second while there are subscriptions.

    It runs until cancelled.  The time counts from the first subscription; `Pacer` handles
    delays.
    """
    while True:
        await tape.wait_subscribed()
        now = trio.current_time()
        prices_at = next_beat(now)
        pacer = Pacer(rate, now=now)
        while tape.is_subscribed:
            await trio.sleep_until(min(pacer.next_at(trio.current_time()), prices_at))
            now = trio.current_time()
            tape.emit_greeks(pacer.take_due(now))
            if now >= prices_at:
                tape.emit_prices(now)
                prices_at = next_beat(now)
