"""How each broker describes an instrument.  Pure data; the brokers make rows of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

# Which prices a broker sends of an instrument: all, only the mark, or none.
Prices = Literal["all", "mark", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IbkrListing:
    """An instrument at IBKR.

    Attributes:
        description: ``contractDesc`` of its row.
        root: The trading class of an option.
        exchange: ``listingExchange``.
        multiplier: Units per contract; `None` if IBKR does not name it.
        magnification: 2 if prices are in hundredths of the currency, otherwise 0.
        expiry: `None` for an instrument without one.
        underlying_conid: 0 if there is none.
        underlying_ticker: ``undSym`` of a derivative.
        is_always_cold: Whether its row stays as in a first read; only
            ``/trsrv/secdef`` has the rest.
        has_text_conid: Whether its row has the conid as a text.
        knows_underlying_early: Whether a cold row names the underlying's conid.
        is_readable: Whether any answer says which instrument it is.
    """

    description: str
    asset_class: str
    ticker: str
    root: str = ""
    currency: str = "USD"
    exchange: str = "NYSE"
    country: str = "US"
    multiplier: Decimal | None = Decimal(0)
    magnification: int = 0
    decimals: int = 2
    expiry: date | None = None
    right: Literal["C", "P"] | None = None
    strike: Decimal = Decimal(0)
    underlying_conid: int = 0
    underlying_ticker: str | None = None
    full_name: str = ""
    is_event_contract: bool = False
    is_always_cold: bool = False
    has_text_conid: bool = False
    knows_underlying_early: bool = True
    is_readable: bool = True
    prices: Prices = "all"

    @property
    def factor(self) -> float:
        """The currency per quoted unit: 0.01 for cents and pence."""
        return float(10**-self.magnification)

    @property
    def size(self) -> float:
        """Units per contract, 1 for a share."""
        return float(self.multiplier or 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliverable:
    """A part of the delivery at the exercise of one adjusted contract."""

    kind: Literal["Shares", "Cash"]
    amount: Decimal
    symbol: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TastytradeListing:
    """An instrument at Tastytrade.

    Attributes:
        underlying_symbol: As a position names it: of a future, only the product.
        position_streamer_symbol: Whether a position has ``streamer-symbol``: as a
            text, as null, or not at all.
        is_page_lean: Whether the instrument's page lacks the streamer symbol.
        trade_age_s: The age of the last trade of an instrument that is only quoted.
        prices: ``none`` for an index that is not streamed.
    """

    symbol: str
    instrument_type: str
    underlying_symbol: str
    streamer_symbol: str
    multiplier: str | int = 100
    exchange: str = ""
    position_streamer_symbol: Literal["named", "null", "absent"] = "absent"
    is_page_lean: bool = False
    deliverables: tuple[Deliverable, ...] = ()
    trade_age_s: float = 0.0
    prices: Prices = "all"
