"""Accounts and positions in the format of the gateway's REST interface.  Pure.

Source: IBKR Client Portal API, "Portfolio"; OpenAPI 2.28.
"""

from __future__ import annotations

from typing import Final

from greeks_trio.simulators.ibkr.rows import Row, contract_description, security_row
from greeks_trio.simulators.market import SimulatedOption, Underlying

PAGE_SIZE: Final = 100


def account_row(account_id: str) -> Row:
    """Return an account as `/portfolio/accounts` lists it."""
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
        "faclient": False,
        "clearingStatus": "O",
        "covestor": False,
        "parent": {
            "mmc": [],
            "accountId": "",
            "isMParent": False,
            "isMChild": False,
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
    is_option = isinstance(instrument, SimulatedOption)
    factor = 100.0 if is_option else 1.0
    row: Row = {
        "acctId": account_id,
        "conid": instrument.conid,
        "contractDesc": contract_description(instrument),
        "position": position,
        "mktPrice": round(price, 8),
        "mktValue": round(price * factor * position, 2),
        "currency": "USD",
        "avgCost": round(price * factor, 4),
        "avgPrice": round(price, 6),
        "realizedPnl": 0.0,
        "unrealizedPnl": 0.0,
        "exchs": None,
        "exerciseStyle": None,
        "conExchMap": [],
        "undConid": 0,
        "model": "",
        "pageSize": PAGE_SIZE,
    }
    return row | security_row(instrument)


def cold_position_row(row: Row) -> Row:
    """Return a position as the first read of a session shows it.

    The fields from the gateway's contract database are still empty: only the
    description identifies an option.
    """
    unknown = ("name", "ticker", "undSym", "undComp", "fullName", "allExchanges")
    cold = {name: each for name, each in row.items() if name not in unknown}
    return cold | {
        "expiry": None,
        "putOrCall": None,
        "multiplier": None,
        "strike": 0.0,
        "lastTradingDay": None,
    }


def live_position_row(
    instrument: SimulatedOption | Underlying, position: float, price: float
) -> Row:
    """Return a position as `/portfolio2/{account}/positions` lists it."""
    is_option = isinstance(instrument, SimulatedOption)
    factor = 100.0 if is_option else 1.0
    return {
        "position": position,
        "conid": str(instrument.conid),
        "avgCost": round(price * factor, 4),
        "avgPrice": round(price, 6),
        "currency": "USD",
        "description": contract_description(instrument),
        "isLastToLoq": False,
        "marketPrice": round(price, 8),
        "marketValue": round(price * factor * position, 2),
        "realizedPnl": 0.0,
        "secType": "OPT" if is_option else "STK",
        "assetClass": "OPT" if is_option else "STK",
        "unrealizedPnl": 0.0,
        "model": "",
    }
