"""The keys of instruments that are no options with a symbol of their own.

========================  ====================================  =====================
instrument                key                                   example
========================  ====================================  =====================
future                    ``/``, root, month code, year         ``/ESZ27``
share, American market    its symbol                            ``BRK/B``
share, other market       its symbol, ``:``, market or currency ``RY:CAD``
anything else             the broker, ``:``, the broker's id    ``ibkr:702``
========================  ====================================  =====================

Different kinds never share a key: only futures begin with ``/``, only futures options with
``./``, and a broker's name has small letters.

Source: CME Group, "Month Codes".
"""

from __future__ import annotations

import re
from datetime import date
from typing import Final

import msgspec

from greeks_trio.model.contracts import ContractKey, underlying_symbol
from greeks_trio.model.records import Broker

MONTH_CODES: Final = "FGHJKMNQUVXZ"

_FUTURE: Final = re.compile(r"/([A-Z0-9]{1,4}?)([FGHJKMNQUVXZ])(\d{1,2})")


class FutureTerms(msgspec.Struct, frozen=True):
    """The terms of a future as its symbol gives them.

    Attributes:
        root: The exchange's code of the product, such as ``ES``.
        month: The contract's month, 1 to 12; energy expires in the month before.
        year: With four digits.
    """

    root: str
    month: int
    year: int


def format_future_key(terms: FutureTerms) -> ContractKey:
    """Return our key of a future: ``/ESZ27``."""
    code = MONTH_CODES[terms.month - 1]
    return ContractKey(f"/{terms.root}{code}{terms.year % 100:02d}")


def parse_future(text: str, *, not_before: date) -> FutureTerms:
    """Return the terms that ``/ESZ27`` or ``/ESZ7`` gives.

    Args:
        text: The symbol, with a year of one digit or two.
        not_before: A one-digit year stands for the first such year from here on.  It is
            the expiration of the future, or of an option on it, or today.

    Raises:
        ValueError: The text is not the symbol of a future.
    """
    found = _FUTURE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not the symbol of a future")
    root, code, digits = found.groups()
    year = int(digits)
    if len(digits) == 1:
        year += not_before.year - not_before.year % 10
        year += 10 if year < not_before.year else 0
    else:
        year += 2000
    return FutureTerms(root, MONTH_CODES.index(code) + 1, year)


def share_key(symbol: str, *, market: str | None = None) -> ContractKey:
    """Return the key of a share.

    Args:
        symbol: In any broker's spelling.
        market: The exchange, or else the currency, if the market is not American.
    """
    name = underlying_symbol(symbol)
    return ContractKey(name if market is None else f"{name}:{market}")


def broker_key(broker: Broker, instrument_id: str) -> ContractKey:
    """Return the key of an instrument that only the broker's own id identifies."""
    return ContractKey(f"{broker}:{instrument_id.strip()}")
