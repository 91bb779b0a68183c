"""Which instrument a row of IBKR's portfolio is.  Pure.

Only an option that the OCC clears gets an OCC symbol: the option of the same name, strike
and day at Eurex is another contract.  An instrument without a symbol
that is the same at every broker is known by its conid.
"""

from __future__ import annotations

from typing import Final

import msgspec

from greeks_trio.brokers.ibkr.positions.descriptions import (
    Description,
    read_description,
)
from greeks_trio.brokers.ibkr.positions.futures import future
from greeks_trio.brokers.ibkr.positions.instruments import (
    NOT_SAID,
    Find,
    Instrument,
    Unidentified,
    own_key,
)
from greeks_trio.brokers.ibkr.positions.options import future_option, option
from greeks_trio.brokers.ibkr.positions.price_factors import (
    other_price_factor,
    share_price_factor,
)
from greeks_trio.brokers.ibkr.positions.rows import Row
from greeks_trio.model.contracts import Conid
from greeks_trio.model.instruments import share_key

_AMERICAN_EXCHANGES: Final = frozenset(
    """
    SMART NYSE NASDAQ NASDAQ.NMS NASDAQ.SCM NASDAQ.SMALL NMS SCM ISLAND AMEX ARCA ARCAEDGE
    PSE BATS BYX BZX EDGX EDGEA IEX CBOE CBOE2 CHX PHLX PSX BEX MEMX LTSE NYSENAT PEARL MIAX
    EMERALD SAPPHIRE ISE GEMINI MERCURY BOX NASDAQOM NASDAQBX IBUSOPT OPRA
    PINK PINKC OTC OTCBB OTCLNK OTCQX OTCQB OTCLNKECN ARCAEDGE VALUE CORPACT BULLETIN
    """.split()  # noqa: SIM905
)
_EVENT_EXCHANGES: Final = frozenset(("FORECASTX", "CMEEVENT"))


def identify(row: Row, find: Find) -> Instrument:
    """Return which instrument the row is.

    Args:
        row: As complete as possible.
        find: Returns the underlying with this conid, if it is known.

    Raises:
        Unidentified: the row does not say it.
    """
    if row.conid is None:
        raise Unidentified("the row has no conid")
    said = read_description(row.description)
    if row.is_event_contract or row.exchange in _EVENT_EXCHANGES:
        return _other(row, row.conid)
    match row.asset_class:
        case "OPT":
            return option(row, row.conid, said, find)
        case "FOP":
            return future_option(row, row.conid, said, find)
        case "FUT":
            return future(row, row.conid, said)
        case "STK":
            return _share(row, row.conid, said)
        case "IND":
            return _index(row, row.conid, said)
        case None:
            raise Unidentified(NOT_SAID + "kind")
    return _other(row, row.conid)


def _other(row: Row, conid: Conid) -> Instrument:
    return Instrument(
        conid=conid,
        contract_key=own_key(conid),
        kind="other",
        multiplier=row.multiplier,
        currency=row.currency,
        exchange=row.exchange,
        price_factor=other_price_factor(row),
        description=row.description or row.full_name or row.ticker,
    )


def _share(row: Row, conid: Conid, said: Description) -> Instrument:
    symbol = row.ticker or said.symbol
    if symbol is None:
        raise Unidentified(NOT_SAID + "symbol")
    key = share_key(symbol, market=_foreign_market(row))
    return Instrument(
        conid=conid,
        contract_key=key,
        kind="equity",
        underlying=key,
        underlying_conid=conid,
        multiplier=row.multiplier,
        currency=row.currency,
        exchange=row.exchange,
        price_factor=share_price_factor(row),
        description=row.description,
        is_complete=row.ticker is not None,
    )


def _index(row: Row, conid: Conid, said: Description) -> Instrument:
    """Return an index, which only is the underlying of others."""
    if row.currency in (None, "USD") and row.is_american is not False:
        row = msgspec.structs.replace(row, is_american=True)
    share = _share(row, conid, said)
    return msgspec.structs.replace(share, kind="other", price_factor=None)


def _foreign_market(row: Row) -> str | None:
    """Return market or currency of a share; `None` for the American market."""
    is_dollar = row.currency in (None, "USD")
    if is_dollar and (row.is_american or row.exchange in _AMERICAN_EXCHANGES):
        return None
    if is_dollar and row.exchange is None and row.is_american is None:
        return None
    if row.exchange is None or row.exchange in _AMERICAN_EXCHANGES:
        return row.currency or "USD"
    return row.exchange
