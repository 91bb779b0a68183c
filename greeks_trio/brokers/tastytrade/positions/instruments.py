"""The facts of instruments that positions leave out: dxFeed's symbols and deliverables.  Pure.

The position's own word comes first, then the page of the instrument, then a rule.  No rule
tells the deliverable of an adjusted option, so without a page its multiplier is not known.

Source: https://developer.tastytrade.com, "Instruments"
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Final

import msgspec
from msgspec.structs import replace

from greeks_trio.brokers.tastytrade.positions.accounts import AccountPositions
from greeks_trio.brokers.tastytrade.positions.fields import (
    as_number,
    positive,
    streamer_symbol,
)
from greeks_trio.brokers.tastytrade.positions.items import Holding
from greeks_trio.brokers.tastytrade.positions.symbols import (
    exchange_of,
    future_by_rule,
    option_by_rule,
    parse_future_option,
)
from greeks_trio.model.contracts import StreamerSymbol, parse_occ, underlying_symbol
from greeks_trio.model.instruments import FutureTerms, parse_future
from greeks_trio.model.records import PositionKind

_NOT_ASKED: Final = "Tastytrade could not be asked"


class Instrument(msgspec.Struct, rename="kebab"):
    """The used fields of the page of an instrument; any may be absent or of any type."""

    streamer_symbol: object = None
    shares_per_contract: object = None
    deliverables: object = None


class InstrumentAnswers(msgspec.Struct, frozen=True):
    """The pages by Tastytrade's symbol, and the reasons why others are missing."""

    pages: Mapping[str, Instrument] = {}
    refusals: Mapping[str, str] = {}


class Completed(msgspec.Struct, frozen=True):
    """The positions with the facts that their items leave out.

    Attributes:
        reading: The reading, with multipliers, exchanges and streamer symbols.
        futures: The streamer symbol of each underlying future, by its key.
        problems: The facts that are missing, for a person.
        by_rule: The streamer symbols that only a rule tells, for a person.
    """

    reading: AccountPositions
    futures: Mapping[str, StreamerSymbol]
    problems: tuple[str, ...] = ()
    by_rule: tuple[str, ...] = ()


def needed_pages(found: AccountPositions) -> set[str]:
    """Return the symbols of the instruments whose pages are needed.

    Those of the open futures options without a streamer symbol, of futures under open
    futures options, and of open adjusted options.
    """
    needed: set[str] = set()
    told = _futures_of_positions(found)
    for holding in _open(found, "option"):
        if is_adjusted(holding):
            needed.add(holding.symbol)
    for holding in _open(found, "future_option"):
        if holding.streamer_symbol is None:
            needed.add(holding.symbol)
        if holding.position.underlying not in told:
            needed.add(holding.position.underlying_id or "")
    return needed - {""}


def is_adjusted(holding: Holding) -> bool:
    """Return whether the option's root ends in a digit.

    A corporate action has changed the deliverable of such a series.  The OCC keeps these
    roots for them, so a position that names the root as the underlying changes nothing.
    """
    return parse_occ(holding.identity).root[-1].isdigit()


def delivered_shares(page: Instrument, underlying: str) -> Decimal:
    """Return how many shares of the underlying an option delivers, and nothing else.

    Raises:
        ValueError: It delivers something else too, or the page does not say it.
    """
    shares = Decimal(0)
    listed = page.deliverables if isinstance(page.deliverables, list) else []
    for each in listed:
        fields = each if isinstance(each, dict) else {}
        number, symbol = as_number(fields.get("amount")), fields.get("symbol")
        if number == 0:
            continue
        is_plain = (
            fields.get("deliverable-type") == "Shares"
            and isinstance(symbol, str)
            and underlying_symbol(symbol) == underlying
        )
        if not is_plain or positive(number) is None:
            raise ValueError("it delivers more than shares of its underlying")
        shares += number or 0
    if shares:
        return shares
    if (per_contract := positive(page.shares_per_contract)) is not None:
        return per_contract
    raise ValueError("Tastytrade does not say how many shares it delivers")


def complete(found: AccountPositions, answers: InstrumentAnswers) -> Completed:
    """Return the reading with the facts that its items leave out."""
    completion = _Completion(found, answers)
    futures = completion.futures()
    holdings = tuple(completion.holding(each) for each in found.holdings)
    return Completed(
        replace(found, holdings=holdings),
        futures,
        tuple(dict.fromkeys(completion.problems)),
        tuple(dict.fromkeys(completion.by_rule)),
    )


class _Completion:
    """Completes one reading and collects the missing facts."""

    def __init__(self, found: AccountPositions, answers: InstrumentAnswers) -> None:
        self._found = found
        self._answers = answers
        self._told = _futures_of_positions(found)
        self._exchanges = self._known_exchanges()
        self.problems: list[str] = []
        self.by_rule: list[str] = []

    def futures(self) -> dict[str, StreamerSymbol]:
        """Return the streamer symbol of each future under an open futures option."""
        symbols: dict[str, StreamerSymbol] = {}
        for holding in _open(self._found, "future_option"):
            key, name = holding.position.underlying, holding.position.underlying_id
            if key is None or name is None or key in symbols:
                continue
            symbol = self._told.get(key) or self._page_symbol(name)
            if symbol is None:
                symbol = future_by_rule(_future(key), self._exchange(key))
                self._tell_rule(name, symbol, f"the price of {key} is not known")
            if symbol is not None:
                symbols[key] = symbol
        return symbols

    def holding(self, holding: Holding) -> Holding:
        """Return the holding with its multiplier, exchange and streamer symbol."""
        position = holding.position
        if position.kind == "option" and is_adjusted(holding):
            return self._with_deliverable(holding)
        if position.kind in ("option", "future_option", "future"):
            self._look_at_multiplier(holding)
        if position.kind == "future_option":
            return self._with_streamer_symbol(holding)
        if position.kind == "future" and position.exchange is None:
            key = position.underlying or ""
            exchange = self._exchange(key) or exchange_of(future_by_rule(_future(key)))
            return replace(holding, position=replace(position, exchange=exchange))
        return holding

    def _look_at_multiplier(self, holding: Holding) -> None:
        if holding.position.quantity and holding.position.multiplier is None:
            self.problems.append(
                f"{holding.symbol} has no usable multiplier, so its sums in dollars are "
                "missing"
            )

    def _with_deliverable(self, holding: Holding) -> Holding:
        position, page = holding.position, self._answers.pages.get(holding.symbol)
        shares: Decimal | None = None
        reason = self._answers.refusals.get(holding.symbol, _NOT_ASKED)
        if page is not None:
            try:
                shares = delivered_shares(page, position.underlying or "")
            except ValueError as exc:
                reason = str(exc)
        if shares is None and position.quantity:
            self.problems.append(
                f"the multiplier of the adjusted option {holding.symbol} is not known: "
                f"{reason}"
            )
        # The item's own number multiplies the premium, and the delivered shares the delta.
        premium = None if shares in (None, position.multiplier) else position.multiplier
        return replace(
            holding,
            position=replace(position, multiplier=shares, premium_multiplier=premium),
        )

    def _with_streamer_symbol(self, holding: Holding) -> Holding:
        position = holding.position
        symbol = holding.streamer_symbol or self._page_symbol(holding.symbol)
        if symbol is None and position.quantity and position.underlying is not None:
            terms = parse_future_option(holding.symbol, position.underlying_id)
            symbol = option_by_rule(terms, self._exchange(position.underlying))
            self._tell_rule(holding.symbol, symbol, "it is not streamed")
        exchange = exchange_of(symbol)
        return replace(
            holding,
            streamer_symbol=symbol,
            position=replace(position, exchange=exchange or position.exchange),
        )

    def _tell_rule(self, name: str, symbol: StreamerSymbol | None, effect: str) -> None:
        reason = self._answers.refusals.get(
            name, "its page has none" if name in self._answers.pages else _NOT_ASKED
        )
        if symbol is None:
            self.problems.append(
                f"the streamer symbol of {name} is not known ({reason}), so {effect}"
            )
        else:
            self.by_rule.append(f"{name} as {symbol} ({reason})")

    def _page_symbol(self, symbol: str) -> StreamerSymbol | None:
        page = self._answers.pages.get(symbol)
        return None if page is None else streamer_symbol(page.streamer_symbol)

    def _exchange(self, future_key: str) -> str | None:
        return self._exchanges.get(_future(future_key).root)

    def _known_exchanges(self) -> dict[str, str]:
        """Return the exchange by the root of the future, from all symbols that are told."""
        exchanges: dict[str, str] = {}
        for holding in (
            *_open(self._found, "future"),
            *_open(self._found, "future_option"),
        ):
            position = holding.position
            told = (
                holding.streamer_symbol,
                self._page_symbol(holding.symbol),
                self._page_symbol(position.underlying_id or ""),
            )
            for exchange in filter(None, map(exchange_of, told)):
                root = _future(position.underlying or "").root
                exchanges.setdefault(root, exchange)
        return exchanges


def _futures_of_positions(found: AccountPositions) -> dict[str, StreamerSymbol]:
    """Return the streamer symbols that positions in futures name, by key."""
    return {
        each.position.underlying: each.streamer_symbol
        for each in found.holdings
        if each.position.kind == "future"
        and each.position.underlying is not None
        and each.streamer_symbol is not None
    }


def _open(found: AccountPositions, kind: PositionKind) -> Iterable[Holding]:
    return (
        each
        for each in found.holdings
        if each.position.kind == kind and each.position.quantity != 0
    )


def _future(key: str) -> FutureTerms:
    """Return the terms of a future's key, which has a year of two digits."""
    return parse_future(key, not_before=date.min)
