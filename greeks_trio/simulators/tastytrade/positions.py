"""Accounts and positions of a simulated Tastytrade, in REST shapes.

Pure except for the dates in the shapes.  Keys are in kebab-case.  As in captured answers,
quantities are whole numbers or text, and optional fields are sometimes absent.

Source: developer.tastytrade.com, accounts and positions.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, TypeAlias

from greeks_trio.model.records import WATCHLIST_ACCOUNT
from greeks_trio.simulators.account_values import Lot
from greeks_trio.simulators.book.book import Holdings, Split
from greeks_trio.simulators.book.listings import TastytradeListing
from greeks_trio.simulators.market import SimulatedOption, Underlying
from greeks_trio.simulators.tastytrade.instruments import (
    Shape,
    equity_option_shape,
    expiry_instant,
    future_option_shape,
    future_shape,
    tasty_symbol,
)
from greeks_trio.simulators.tastytrade.metrics import product_of

ACCOUNT_ID: Final = "5SM00001"
EMPTY_ACCOUNT_ID: Final = "5SM00002"
_FIRST_FURTHER: Final = 3
# One in this many of the first account's options is also in each further account.
_SHARED_EVERY: Final = 3
# Shares that cover calls; a client records them and subscribes to none of them.
_SHARES: Final = {"AAPL": 300, "F": -200}
PriceOf: TypeAlias = Callable[[SimulatedOption | Underlying], float]

_OPENED: Final = "2026-01-05T14:30:00.000+00:00"


class SimulatedPositions:
    """The positions of all accounts.

    The first account holds the options and some shares.  The second account is empty.
    Each further account holds a third of the options, in its own quantities.

    Attributes:
        account_ids: All accounts: the first, the empty one, then the further ones.
    """

    def __init__(
        self,
        options: Sequence[SimulatedOption],
        tradable: Sequence[SimulatedOption],
        *,
        seed: int,
        accounts: int = 1,
        holdings: Holdings | None = None,
        underlyings: Sequence[Underlying] = (),
    ) -> None:
        """Make the positions; ``accounts`` accounts are not empty.

        With ``holdings`` the accounts are those, and they may hold ``underlyings`` too.
        """
        numbers = random.Random(seed)
        self._underlyings = underlyings
        self._options = {tasty_symbol(each): each for each in (*tradable, *options)}
        self._others = {
            each.tastytrade.symbol: each
            for each in underlyings
            if each.tastytrade is not None
        }
        self._closed = holdings.closed if holdings is not None else ()
        self._symbols: dict[str, str] = {
            each.contract.contract_key: symbol for symbol, each in self._options.items()
        }
        first = {
            tasty_symbol(each): numbers.choice((-1, 1)) * numbers.randint(1, 20)
            for each in options
        }
        self._quantities = {ACCOUNT_ID: first, EMPTY_ACCOUNT_ID: {}}
        for each in range(1, accounts):
            shared = list(first)[each % max(1, len(first)) :: _SHARED_EVERY]
            name = f"5SM{_FIRST_FURTHER - 1 + each:05d}"
            self._quantities[name] = dict.fromkeys(shared, each + 1)
        if holdings is not None:
            self._quantities = self._hold(holdings)
        self._has_shares = holdings is None
        self.account_ids = tuple(self._quantities)

    def accounts_of(self, contract_key: str) -> list[str]:
        """Return the accounts to which the contract's ticks belong.

        Ticks of a contract that was never held belong to `WATCHLIST_ACCOUNT`.  The last
        ticks of a closed contract still belong to its accounts.
        """
        symbol = self._symbols.get(contract_key)
        holders = [name for name, held in self._quantities.items() if symbol in held]
        return holders or [WATCHLIST_ACCOUNT]

    def change(self, contract_key: str, quantity: int) -> Shape:
        """Set a signed quantity in the first account and return the new position.

        Raises:
            KeyError: the market has no such contract.
        """
        symbol = self._symbols[contract_key]
        self._quantities[ACCOUNT_ID][symbol] = quantity
        return self._position(ACCOUNT_ID, symbol, quantity)

    def split(self, split: Split) -> list[tuple[str, Shape]]:
        """Replace an option by the adjusted one; return accounts and new positions."""
        before, after = tasty_symbol(split.before), tasty_symbol(split.after)
        shares = split.before.underlying.tastytrade
        changed: list[tuple[str, Shape]] = []
        for account_id, held in self._quantities.items():
            changes: dict[str, int] = {}
            if quantity := held.get(before, 0):
                changes = {before: 0, after: quantity}
            if shares is not None and shares.symbol in held:
                changes[shares.symbol] = round(held[shares.symbol] * split.ratio)
            held.update(changes)
            changed += [
                (account_id, self._position(account_id, symbol, quantity))
                for symbol, quantity in changes.items()
            ]
        return changed

    def accounts(self) -> list[Shape]:
        """Return every account's description."""
        return [
            _account(each, is_closed=each in self._closed)
            for each in (*self.account_ids, *self._closed)
        ]

    def positions(self, account_id: str, *, with_closed: bool = False) -> list[Shape]:
        """Return the account's positions: options first, then shares."""
        held = [
            self._position(account_id, symbol, quantity)
            for symbol, quantity in self._quantities[account_id].items()
            if quantity or with_closed
        ]
        if account_id == ACCOUNT_ID and self._has_shares:
            held += [_shares(symbol, quantity) for symbol, quantity in _SHARES.items()]
        return held

    def lots(self, account_id: str, price_of: PriceOf) -> Iterator[Lot]:
        """Yield the account's positions with their values."""
        for symbol, quantity in self._quantities[account_id].items():
            option = self._options.get(symbol)
            if option is None:
                other = self._others[symbol]
                is_future = symbol.startswith("/")
                listing = other.tastytrade
                size = float(listing.multiplier) if listing is not None else 1.0
                yield Lot(other, quantity * size, price_of(other), is_future)
                continue
            size = float(option.contract.multiplier or 100)
            factor = float(option.contract.price_factor or 1)
            yield Lot(option, quantity * size * factor, price_of(option))
        if account_id == ACCOUNT_ID and self._has_shares:
            yield from (
                Lot(each, _SHARES[each.symbol], price_of(each))
                for each in self._underlyings
                if each.symbol in _SHARES
            )

    def underlying_symbols(self) -> frozenset[str]:
        """Return the symbols with market metrics: shares, indices, products of futures."""
        return frozenset(product_of(each.symbol) for each in self._underlyings)

    def equity_option(self, symbol: str) -> Shape | None:
        """Return the instrument, `None` when there is no such equity option."""
        option = self._options.get(symbol)
        if option is None or option.contract.kind != "option":
            return None
        return equity_option_shape(symbol, option)

    def future_option(self, symbol: str) -> Shape | None:
        """Return the instrument, `None` when there is no such futures option."""
        option = self._options.get(symbol)
        if option is None or option.contract.kind != "future_option":
            return None
        return future_option_shape(symbol, option)

    def future(self, symbol: str) -> Shape | None:
        """Return the instrument, `None` when there is no such future."""
        found = self._others.get("/" + symbol.removeprefix("/"))
        return None if found is None else future_shape(found)

    def _hold(self, holdings: Holdings) -> dict[str, dict[str, int]]:
        # The adjusted option of a split has the number of the option before it.
        to_come = None if holdings.split is None else holdings.split.after
        symbols = {
            each.conid: symbol
            for symbol, each in self._options.items()
            if each is not to_come
        }
        symbols |= {each.conid: symbol for symbol, each in self._others.items()}
        return {
            account_id: {symbols[conid]: int(each) for conid, each in held.items()}
            for account_id, held in holdings.accounts.items()
        }

    def _position(self, account_id: str, symbol: str, quantity: int) -> Shape:
        if symbol in self._others:
            return _other_position(account_id, self._others[symbol], quantity)
        option = self._options[symbol]
        is_future = option.contract.kind == "future_option"
        kind = "Future Option" if is_future else "Equity Option"
        shape = _position(symbol, option.contract.underlying, kind, quantity)
        shape["account-number"] = account_id
        shape["multiplier"] = int(option.contract.multiplier or 100)
        if option.conid % 3:  # some answers do not have it
            shape["expires-at"] = expiry_instant(option.terms.expiration)
        if option.conid % 4 == 0:
            shape["quantity"] = str(abs(quantity))
        return shape if option.tastytrade is None else shape | _named(option.tastytrade)


def _other_position(account_id: str, instrument: Underlying, quantity: int) -> Shape:
    listing = instrument.tastytrade
    assert listing is not None  # noqa: S101  only these have a symbol
    shape = _position(
        listing.symbol, listing.underlying_symbol, listing.instrument_type, quantity
    )
    return shape | {"account-number": account_id} | _named(listing)


def _named(listing: TastytradeListing) -> Shape:
    """Return the fields of a position that its listing decides."""
    shape: Shape = {
        "underlying-symbol": listing.underlying_symbol,
        "multiplier": listing.multiplier,
    }
    if listing.position_streamer_symbol != "absent":
        is_named = listing.position_streamer_symbol == "named"
        shape["streamer-symbol"] = listing.streamer_symbol if is_named else None
    return shape


def _account(account_id: str, *, is_closed: bool) -> Shape:
    return {
        "account-number": account_id,
        "external-id": f"A{account_id}",
        "opened-at": _OPENED,
        "created-at": _OPENED,
        "nickname": "Simulated",
        "account-type-name": "Individual",
        "day-trader-status": False,
        "is-closed": is_closed,
        "is-firm-error": False,
        "is-firm-proprietary": False,
        "is-futures-approved": True,
        "is-test-drive": False,
        "is-foreign": False,
        "margin-or-cash": "Margin",
        "funding-date": "2026-01-05",
        "investment-objective": "SPECULATION",
        "suitable-options-level": "No Restrictions",
    }


def _shares(symbol: str, quantity: int) -> Shape:
    return _position(symbol, symbol, "Equity", quantity) | {"multiplier": 1}


def _position(symbol: str, underlying: str, kind: str, quantity: int) -> Shape:
    direction = "Long" if quantity > 0 else "Short" if quantity else "Zero"
    return {
        "account-number": ACCOUNT_ID,
        "symbol": symbol,
        "instrument-type": kind,
        "underlying-symbol": underlying,
        "quantity": abs(quantity),
        "quantity-direction": direction,
        "close-price": "4.1",
        "average-open-price": "3.95",
        "cost-effect": "Debit" if quantity < 0 else "Credit",
        "is-suppressed": False,
        "is-frozen": False,
        "restricted-quantity": 0,
        "realized-day-gain": "0.0",
        "realized-day-gain-effect": "None",
        "realized-today": "0.0",
        "realized-today-effect": "None",
        "created-at": _OPENED,
        "updated-at": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
