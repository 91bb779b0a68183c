"""Makes the instruments of a book from a few words on each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from typing import Final, Literal

import msgspec

from greeks_trio.model.contracts import (
    Conid,
    ContractKey,
    OptionContract,
    OptionTerms,
)
from greeks_trio.simulators.book.dates import month_code, month_name
from greeks_trio.simulators.book.future_options import (
    FutureOption,
    Product,
    ibkr_future_option,
    tastytrade_future_option,
)
from greeks_trio.simulators.book.keys import (
    Right,
    broker_key,
    future_option_key,
    number,
    occ_key,
)
from greeks_trio.simulators.book.listings import (
    Deliverable,
    IbkrListing,
    TastytradeListing,
)
from greeks_trio.simulators.book.smile import smile_volatility
from greeks_trio.simulators.market import SimulatedOption, Underlying

_FIRST_CONID: Final = 760_000_001
# Of each underlying, at the money.
_LEVEL: Final = 0.24


@dataclass(slots=True)
class Maker:
    """Makes instruments, each with a conid of its own, and keeps them in order."""

    today: date
    underlyings: list[Underlying] = field(default_factory=list)
    options: list[SimulatedOption] = field(default_factory=list)
    _next: int = _FIRST_CONID

    def conid(self) -> Conid:
        """Return a new number."""
        self._next += 1
        return Conid(self._next - 1)

    def share(
        self,
        symbol: str,
        price: float,
        *,
        conid: int = 0,
        listing: IbkrListing | None = None,
        tastytrade: TastytradeListing | None = None,
        at_tastytrade: bool = True,
    ) -> Underlying:
        """Make a share; without a listing it is one of the New York Stock Exchange."""
        default = IbkrListing(description=symbol, asset_class="STK", ticker=symbol)
        named = TastytradeListing(
            symbol=symbol,
            instrument_type="Equity",
            underlying_symbol=symbol,
            streamer_symbol=symbol,
            multiplier=1,
            position_streamer_symbol="null" if len(self.underlyings) % 2 else "named",
        )
        made = Underlying(
            symbol,
            symbol,
            conid or self.conid(),
            price,
            ibkr=listing or default,
            tastytrade=tastytrade or (named if at_tastytrade else None),
        )
        self.underlyings.append(made)
        return made

    def only_at_ibkr(self, price: float, listing: IbkrListing) -> Underlying:
        """Make an instrument without options that only IBKR knows."""
        made = Underlying(listing.description, "", self.conid(), price, ibkr=listing)
        self.underlyings.append(made)
        return made

    def us_option(
        self,
        underlying: Underlying,
        expiration: date,
        right: Right,
        strike: Decimal,
        *,
        root: str = "",
        conid: Conid | None = None,
        size: Decimal = Decimal(100),
        deliverables: tuple[Deliverable, ...] = (),
    ) -> SimulatedOption:
        """Make an option that the OCC clears."""
        root = root or underlying.root
        key = occ_key(root, expiration, right, strike)
        contract = _contract(key, underlying.symbol, expiration, right, strike, size)
        spoken = underlying.symbol.replace("/", " ")
        ticker = root if root[-1:].isdecimal() else spoken
        month, text = month_name(expiration), number(strike)
        listing = IbkrListing(
            description=f"{ticker:<6} {month} {text} {right} [{key} {number(size)}]",
            asset_class="OPT",
            ticker=ticker,
            root=root,
            exchange="CBOE" if underlying.symbol in ("SPX", "VIX") else "AMEX",
            multiplier=size,
            expiry=expiration,
            right=right,
            strike=strike,
            underlying_conid=underlying.conid,
            underlying_ticker=ticker,
        )
        tastytrade = TastytradeListing(
            symbol=key,
            instrument_type="Equity Option",
            underlying_symbol=underlying.symbol,
            streamer_symbol=f".{root}{expiration:%y%m%d}{right}{text}",
            multiplier=int(size),
            position_streamer_symbol="named",
            deliverables=deliverables,
        )
        return self._add(contract, root, underlying, listing, tastytrade, conid)

    def twin(self, option: SimulatedOption) -> SimulatedOption:
        """Make an option that IBKR describes as this one, under a higher conid.

        Only the lower one can have the key of their description.
        """
        conid = self.conid()
        contract = msgspec.structs.replace(
            option.contract, contract_key=ContractKey(broker_key("ibkr", conid))
        )
        made = replace(option, conid=conid, contract=contract, tastytrade=None)
        self.options.append(made)
        return made

    def foreign_option(
        self, underlying: Underlying, listing: IbkrListing
    ) -> SimulatedOption:
        """Make an option of an exchange outside the US; only IBKR has it."""
        assert listing.expiry is not None  # noqa: S101  the book names it
        assert listing.right is not None  # noqa: S101  the book names it
        conid = self.conid()
        contract = _contract(
            broker_key("ibkr", conid),
            underlying.symbol,
            listing.expiry,
            listing.right,
            listing.strike,
            listing.multiplier,
        )
        return self._add(contract, listing.root, underlying, listing, None, conid)

    def future(self, product: Product, month: date, expiry: date) -> Underlying:
        """Make a future."""
        letter, year = month_code(month), month.year
        streamer = (
            f"/{product.root}{letter}{year % 100:02d}:{product.streamer_exchange}"
        )
        listing = IbkrListing(
            description=f"{product.ibkr:<8} {month_name(month)}",
            asset_class="FUT",
            ticker=product.ibkr,
            exchange=product.exchange,
            multiplier=product.multiplier,
            magnification=2 if product.in_cents else 0,
            decimals=product.decimals,
            expiry=expiry,
            underlying_conid=product.index_conid,
        )
        made = Underlying(
            f"/{product.root}{letter}{year % 100:02d}",
            product.root,
            self.conid(),
            product.price,
            ibkr=listing,
            tastytrade=TastytradeListing(
                symbol=f"/{product.root}{letter}{year % 10}",
                instrument_type="Future",
                underlying_symbol=f"/{product.root}",
                streamer_symbol=streamer,
                multiplier=number(product.multiplier),
                exchange=product.exchange,
                position_streamer_symbol="named",
            ),
        )
        self.underlyings.append(made)
        return made

    def future_option(self, wanted: FutureOption) -> SimulatedOption:
        """Make a futures option."""
        key = future_option_key(
            wanted.root, wanted.expiration, wanted.right, wanted.strike
        )
        contract = _contract(
            key,
            wanted.future.symbol,
            wanted.expiration,
            wanted.right,
            wanted.strike,
            wanted.product.multiplier,
            kind="future_option",
        )
        return self._add(
            contract,
            wanted.root,
            wanted.future,
            ibkr_future_option(wanted),
            tastytrade_future_option(wanted),
            None,
        )

    def _add(
        self,
        contract: OptionContract,
        root: str,
        underlying: Underlying,
        ibkr: IbkrListing,
        tastytrade: TastytradeListing | None,
        conid: Conid | None,
    ) -> SimulatedOption:
        terms = OptionTerms(
            root, contract.expiration, contract.option_type, contract.strike
        )
        made = SimulatedOption(
            terms,
            contract,
            conid or self.conid(),
            underlying,
            smile_volatility(
                _LEVEL,
                underlying.price,
                float(contract.strike),
                (contract.expiration - self.today).days,
            ),
            ibkr,
            tastytrade,
        )
        self.options.append(made)
        return made


def _contract(
    key: str,
    underlying: str,
    expiration: date,
    right: Right,
    strike: Decimal,
    multiplier: Decimal | None,
    *,
    kind: Literal["option", "future_option"] = "option",
) -> OptionContract:
    return OptionContract(
        contract_key=ContractKey(key),
        underlying=underlying,
        expiration=expiration,
        strike=strike,
        option_type="call" if right == "C" else "put",
        kind=kind,
        multiplier=multiplier,
    )
