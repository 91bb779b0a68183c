"""Accounts and positions in the format of the gateway's REST interface.  Pure.

Source: IBKR Client Portal API, "Portfolio"; OpenAPI 2.28.
"""

from __future__ import annotations

from typing import Final

from greeks_trio.simulators.book.listings import IbkrListing
from greeks_trio.simulators.ibkr.listing import listing_of
from greeks_trio.simulators.ibkr.rows import Row, security_row
from greeks_trio.simulators.market import SimulatedOption, Underlying

PAGE_SIZE: Final = 100


def account_row(
    account_id: str, *, master: str | None = None, is_advisor: bool = False
) -> Row:
    """Return an account as `/portfolio/accounts` and `/portfolio/subaccounts` list it.

    ``master`` is the advisor of a client's account; ``is_advisor`` tells that this is
    the advisor's own one.
    """
    return {
        "id": account_id,
        "accountId": account_id,
        "accountVan": account_id,
        "accountTitle": "Simulated Account",
        "displayName": "Simulated Account",
        "accountAlias": None,
        "accountStatus": 1_700_000_000_000,
        "currency": "USD",
        "type": "DEMO",
        "tradingType": "STKNOPT",
        "faclient": is_advisor,
        "clearingStatus": "O",
        "covestor": False,
        "parent": {
            "mmc": [],
            "accountId": master or "",
            "isMParent": is_advisor,
            "isMChild": master is not None,
            "isMultiplex": False,
        },
        "desc": account_id,
    }


def position_row(
    account_id: str,
    instrument: SimulatedOption | Underlying,
    position: float,
    price: float,
) -> Row:
    """Return a position as `/portfolio/{account}/positions/{page}` lists it."""
    listing = listing_of(instrument)
    row: Row = {
        "acctId": account_id,
        "contractDesc": listing.description,
        "position": position,
        "mktPrice": round(price, 8),
        "mktValue": market_value(listing, position, price),
        "avgCost": round(price * listing.size * listing.factor, 4),
        "avgPrice": round(price, 6),
        "realizedPnl": 0.0,
        "unrealizedPnl": 0.0,
        "exchs": None,
        "exerciseStyle": None,
        "conExchMap": [],
        "model": "",
        "pageSize": PAGE_SIZE,
    }
    row |= security_row(instrument)
    if listing.has_text_conid:
        row["conid"] = str(instrument.conid)
    return row


def market_value(listing: IbkrListing, position: float, price: float) -> float:
    """Return the value of a position in the currency, not in cents or pence."""
    return round(price * listing.size * listing.factor * position, 2)


def cold_position_row(row: Row, listing: IbkrListing) -> Row:
    """Return a position as the first read of a session shows it.

    The fields from the gateway's contract database are still empty: only the
    description identifies an option, and not each one.
    """
    unknown = ("name", "ticker", "undSym", "undComp", "fullName", "allExchanges")
    cold = {name: each for name, each in row.items() if name not in unknown}
    cold |= {
        "expiry": None,
        "putOrCall": None,
        "multiplier": None,
        "strike": 0.0,
        "lastTradingDay": None,
    }
    return cold if listing.knows_underlying_early else cold | {"undConid": 0}


def live_position_row(
    instrument: SimulatedOption | Underlying, position: float, price: float
) -> Row:
    """Return a position as `/portfolio2/{account}/positions` lists it."""
    listing = listing_of(instrument)
    return {
        "position": position,
        "conid": str(instrument.conid),
        "avgCost": round(price * listing.size * listing.factor, 4),
        "avgPrice": round(price, 6),
        "currency": listing.currency,
        "description": listing.description,
        "isLastToLoq": False,
        "marketPrice": round(price, 8),
        "marketValue": market_value(listing, position, price),
        "realizedPnl": 0.0,
        "secType": listing.asset_class,
        "assetClass": listing.asset_class,
        "unrealizedPnl": 0.0,
        "model": "",
    }
