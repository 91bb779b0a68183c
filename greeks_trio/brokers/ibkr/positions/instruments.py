"""An instrument as positions and streams need it.  Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Final

import msgspec

from greeks_trio.brokers.ibkr.positions.rows import Listing
from greeks_trio.model.contracts import (
    Conid,
    ContractKey,
    OptionContract,
    OptionType,
)
from greeks_trio.model.instruments import broker_key
from greeks_trio.model.records import PositionKind

NOT_SAID: Final = "the row does not say its "


class Unidentified(ValueError):
    """A row does not say which instrument it is.

    Attributes:
        reason: A short sentence for a person.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """An instrument as the position and its stream need it.

    Attributes:
        underlying: The key of the underlying; `None` if the kind has none.
        is_complete: Whether another look at the row would tell nothing new.
        is_adjusted: Whether its multiplier is unknown because IBKR does not say the
            deliverable of the adjusted contract.
    """

    conid: Conid
    contract_key: ContractKey
    kind: PositionKind
    underlying: str | None = None
    underlying_conid: Conid | None = None
    multiplier: Decimal | None = None
    currency: str | None = None
    expiration: date | None = None
    strike: Decimal | None = None
    option_type: OptionType | None = None
    exchange: str | None = None
    price_factor: Decimal | None = None
    description: str | None = None
    is_complete: bool = True
    is_adjusted: bool = False

    @property
    def listing(self) -> Listing | None:
        """The option to stream; `None` for any other kind."""
        if (
            self.kind not in ("option", "future_option")
            or self.underlying is None
            or self.expiration is None
            or self.strike is None
            or self.option_type is None
        ):
            return None
        contract = OptionContract(
            contract_key=self.contract_key,
            underlying=self.underlying,
            expiration=self.expiration,
            strike=self.strike,
            option_type=self.option_type,
            kind="option" if self.kind == "option" else "future_option",
            multiplier=self.multiplier,
            price_factor=self.price_factor,
            exchange=self.exchange,
        )
        return Listing(contract, self.conid, self.underlying_conid)


# Returns the instrument with this conid, if it is known.
Find = Callable[[Conid], Instrument | None]


def own_key(conid: Conid) -> ContractKey:
    """Return the key of an instrument that only its conid identifies."""
    return broker_key("ibkr", str(conid))
