"""Accounts, positions and instruments of a simulated Tastytrade, in REST shapes.

Pure but for the dates in the shapes.  Keys are in kebab-case; quantities are whole
numbers or text, and optional fields are absent now and then, as in captured answers.

Source: developer.tastytrade.com, accounts, positions and instruments.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Final

from greeks_trio.model.contracts import format_streamer_symbol, plain
from greeks_trio.model.records import WATCHLIST_ACCOUNT
from greeks_trio.simulators.market import SimulatedOption

ACCOUNT_ID: Final = "5SM00001"
EMPTY_ACCOUNT_ID: Final = "5SM00002"
_FIRST_FURTHER: Final = 3
# Every so many of the first account's options are in each further one too.
_SHARED_EVERY: Final = 3
# Shares that cover calls; a client records them and subscribes to none of them.
_SHARES: Final = {"AAPL": 300, "F": -200}
_OPENED: Final = "2026-01-05T14:30:00.000+00:00"
_EXPIRES: Final = time(20, 0)

Shape = dict[str, object]


class Book:
    """What the accounts hold.

    The first one holds the options and some shares, the second one nothing, each
    further one a third of the options in quantities of its own.

    Attributes:
        account_ids: Those that hold something, the first one first, and the empty one.
    """

    def __init__(
        self,
        options: Sequence[SimulatedOption],
        tradable: Sequence[SimulatedOption],
        *,
        seed: int,
        accounts: int = 1,
    ) -> None:
        """Make a book of which ``accounts`` accounts hold something."""
        numbers = random.Random(seed)
        self._options = {tasty_symbol(each): each for each in (*tradable, *options)}
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
        self.account_ids = tuple(self._quantities)

    def accounts_of(self, contract_key: str) -> list[str]:
        """Return whose tick this is: nobody's if the contract was never held.

        A closed contract stays its accounts', because its last ticks are.
        """
        symbol = self._symbols.get(contract_key)
        holders = [name for name, held in self._quantities.items() if symbol in held]
        return holders or [WATCHLIST_ACCOUNT]

    def change(self, contract_key: str, quantity: int) -> Shape:
        """Set a signed quantity in the first account and return the new position.

        Raises:
            KeyError: no such contract is on the market.
        """
        symbol = self._symbols[contract_key]
        self._quantities[ACCOUNT_ID][symbol] = quantity
        return self._position(ACCOUNT_ID, symbol, quantity)

    def accounts(self) -> list[Shape]:
        """Return every account's description."""
        return [_account(each) for each in self.account_ids]

    def positions(self, account_id: str, *, with_closed: bool = False) -> list[Shape]:
        """Return what the account holds: options first, then shares."""
        held = [
            self._position(account_id, symbol, quantity)
            for symbol, quantity in self._quantities[account_id].items()
            if quantity or with_closed
        ]
        if account_id == ACCOUNT_ID:
            held += [_shares(symbol, quantity) for symbol, quantity in _SHARES.items()]
        return held

    def equity_option(self, symbol: str) -> Shape | None:
        """Return the instrument, `None` when there is no such equity option."""
        option = self._options.get(symbol)
        if option is None or option.contract.kind != "option":
            return None
        return _equity_option(symbol, option)

    def future_option(self, symbol: str) -> Shape | None:
        """Return the instrument, `None` when there is no such futures option."""
        option = self._options.get(symbol)
        if option is None or option.contract.kind != "future_option":
            return None
        return _future_option(symbol, option)

    def _position(self, account_id: str, symbol: str, quantity: int) -> Shape:
        option = self._options[symbol]
        is_future = option.contract.kind == "future_option"
        kind = "Future Option" if is_future else "Equity Option"
        shape = _position(symbol, option.contract.underlying, kind, quantity)
        shape["account-number"] = account_id
        shape["multiplier"] = int(option.contract.multiplier)
        if option.conid % 3:  # some answers lack it
            shape["expires-at"] = _instant(option.terms.expiration)
        if option.conid % 4 == 0:
            shape["quantity"] = str(abs(quantity))
        return shape


def tasty_symbol(option: SimulatedOption) -> str:
    """Return Tastytrade's symbol: OCC, or future and option code for futures."""
    if option.contract.kind == "option":
        return option.contract.contract_key
    terms = option.terms
    future = option.contract.underlying.removeprefix("/")
    right = "C" if terms.option_type == "call" else "P"
    code = terms.root + future[-2:]
    return (
        f"./{future:<5}{code:<6}{terms.expiration:%y%m%d}{right}{plain(terms.strike):f}"
    )


def streamer_symbol(option: SimulatedOption) -> str:
    """Return dxFeed's symbol, for futures options with two-digit year and exchange."""
    if option.contract.kind == "option":
        return format_streamer_symbol(option.terms)
    terms = option.terms
    month = option.contract.underlying[-2]
    right = "C" if terms.option_type == "call" else "P"
    year = terms.expiration.year % 100
    return f"./{terms.root}{month}{year:02d}{right}{plain(terms.strike):f}:XNYM"


def _account(account_id: str) -> Shape:
    return {
        "account-number": account_id,
        "external-id": f"A{account_id}",
        "opened-at": _OPENED,
        "created-at": _OPENED,
        "nickname": "Simulated",
        "account-type-name": "Individual",
        "day-trader-status": False,
        "is-closed": False,
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


def _equity_option(symbol: str, option: SimulatedOption) -> Shape:
    terms = option.terms
    return _option(symbol, option) | {
        "instrument-type": "Equity Option",
        "root-symbol": terms.root,
        "shares-per-contract": int(option.contract.multiplier),
        "option-chain-type": "Standard",
        "expiration-type": "Weekly",
        "settlement-type": "PM",
        "market-time-instrument-collection": "Equity Option",
    }


def _future_option(symbol: str, option: SimulatedOption) -> Shape:
    terms, future = option.terms, option.contract.underlying
    multiplier = str(Decimal(option.contract.multiplier))
    return _option(symbol, option) | {
        "instrument-type": "Future Option",
        "root-symbol": future[:-2],
        "option-root-symbol": terms.root,
        "product-code": future[1:-2],
        "exchange": "CME",
        "exchange-symbol": symbol.removeprefix("./"),
        "security-exchange": "2",
        "sx-id": "0",
        "is-vanilla": True,
        "is-primary-deliverable": True,
        "is-confirmed": True,
        "is-exercisable-weekly": False,
        "future-price-ratio": "1.0",
        "multiplier": multiplier,
        "underlying-count": "1.0",
        "notional-value": multiplier,
        "display-factor": "0.01",
        "settlement-type": "Future",
        "strike-factor": "1.0",
        "maturity-date": terms.expiration.isoformat(),
        "last-trade-time": "0",
    }


def _option(symbol: str, option: SimulatedOption) -> Shape:
    terms = option.terms
    expires_at = _instant(terms.expiration)
    return {
        "symbol": symbol,
        "streamer-symbol": streamer_symbol(option),
        "underlying-symbol": option.contract.underlying,
        "strike-price": f"{terms.strike:.1f}"
        if terms.strike % 1 == 0
        else str(terms.strike),
        "option-type": "C" if terms.option_type == "call" else "P",
        "expiration-date": terms.expiration.isoformat(),
        "days-to-expiration": (terms.expiration - datetime.now(UTC).date()).days,
        "expires-at": expires_at,
        "stops-trading-at": expires_at,
        "exercise-style": "American",
        "active": True,
        "is-closing-only": False,
    }


def _instant(day: date) -> str:
    instant = datetime.combine(day, _EXPIRES, tzinfo=UTC)
    return instant.isoformat(timespec="milliseconds")
