"""What the columns of the lists are, for OpenAPI: types, units, examples.

Numbers are JSON numbers.  Those that PostgreSQL keeps as ``numeric`` (strike, quantity,
multiplier, price) are written with all of their digits, so whoever reads them as decimals
loses nothing; doubles have the fewest digits that read back as the same double.  Times
are RFC 3339 in UTC with microseconds.  What is missing is null, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from greeks_trio.api.lists.params import MAX_LIMIT
from greeks_trio.config.settings import BROKERS

Schema: TypeAlias = dict[str, Any]


def _text(description: str) -> Schema:
    return {"type": ["string", "null"], "description": description}


def _number(description: str) -> Schema:
    return {"type": ["number", "null"], "description": description}


def _count(description: str) -> Schema:
    return {"type": "integer", "description": description}


def _time(description: str) -> Schema:
    return {
        "type": ["string", "null"],
        "format": "date-time",
        "description": description,
    }


_MEASURES: Final = {
    "delta": _number("Per 1.00 of the underlying."),
    "gamma": _number("Per 1.00 of the underlying, squared."),
    "theta": _number("Per calendar day."),
    "vega": _number("Per volatility point (0.01)."),
    "rho": _number("Per rate point (0.01); IBKR sends none."),
    "implied_volatility": _number("A fraction per year: 0.183 is 18.3 %."),
    "underlying_price": _number("Last trade, else the middle of bid and ask."),
}
_BROKER: Final = {"type": "string", "enum": list(BROKERS)}
_CONTRACT: Final[dict[str, Schema]] = {
    "underlying": _text("The underlying's symbol: SPX for SPXW, BRK/B for BRKB."),
    "contract_key": {
        "type": "string",
        "description": "The 21-character OCC symbol; for what is no option, the "
        "broker's symbol.",
    },
    "expiration": {"type": ["string", "null"], "format": "date"},
    "strike": _number("In the contract's currency."),
    "option_type": {"enum": ["call", "put", None]},
    "quantity": _number("Signed, short negative; null where nobody holds it."),
}
_HELD: Final[dict[str, Schema]] = {
    "broker": _BROKER,
    "account_id": {"type": "string"},
    **_CONTRACT,
    "multiplier": _number("Units of the underlying per contract."),
    "currency": _text("ISO 4217, such as USD."),
}

SNAPSHOT: Final[dict[str, Schema]] = {
    "id": {"type": "integer", "description": "Order of insertion."},
    "event_time": _time("The broker's time."),
    "received_at": _time("When the frame was read."),
    "persisted_at": _time("The database's clock at the insert."),
    "broker": _BROKER,
    "account_id": {
        "type": "string",
        "description": "`watchlist` for a contract that is watched and held by nobody.",
    },
    **_CONTRACT,
    **_MEASURES,
    "availability": {"enum": ["realtime", "delayed", "frozen", "unknown"]},
}
LATEST: Final[dict[str, Schema]] = {
    **_HELD,
    "event_time": _time("Null where there is no tick at all."),
    "received_at": _time("When its frame was read."),
    **_MEASURES,
    "availability": {"enum": ["realtime", "delayed", "frozen", "unknown", None]},
    "age_s": _number("Seconds since it was received, until the moment asked for."),
    "is_stale": {
        "type": "boolean",
        "description": "Older than GREEKS_STALE_AFTER_S, not real-time, or no tick.",
    },
}
POSITION: Final[dict[str, Schema]] = {
    **_HELD,
    "kind": {"enum": ["option", "future_option", "equity", "future", "other"]},
    "observed_at": _time("When the broker last reported a change."),
}
_SUM: Final = "Sum of quantity x multiplier x Greek over those that have one."
_MISSING: Final = "Contracts that the sums lack because this is missing."
PORTFOLIO: Final[dict[str, Schema]] = {
    "broker": _BROKER,
    "account_id": {"type": "string"},
    "currency": _text("ISO 4217, such as USD."),
    "underlying": _CONTRACT["underlying"],
    "expiration": {"type": ["string", "null"], "format": "date"},
    "contracts": _count("Options that are held."),
    "shares_futures": _count("Positions in shares and futures."),
    "other_positions": _count("Positions that no sum includes."),
    "option_delta": _number(_SUM),
    "share_future_delta": _number("Sum of quantity x multiplier."),
    **{name: _number(_SUM) for name in ("gamma", "theta", "vega", "rho")},
    "dollar_delta": _number("Sum of q m delta S, in the currency."),
    "dollar_gamma": _number("Sum of q m gamma S^2 / 100, for a move of 1 %."),
    **{
        f"missing_{name}": _count(_MISSING)
        for name in (
            *("tick", "multiplier", "price", "delta", "share_future_delta", "gamma"),
            *("theta", "vega", "rho", "dollar_delta", "dollar_gamma"),
        )
    },
    "stale": _count("Positions whose values are stale."),
    "not_realtime": _count("Of these, those that the broker calls not real-time."),
    "oldest_age_s": _number("Seconds."),
}
# `broker_divergence` has columns of these two brokers.
_COMPARED: Final = ("ibkr", "tastytrade")
DIVERGENCE: Final[dict[str, Schema]] = {
    **{name: each for name, each in _CONTRACT.items() if name != "quantity"},
    **{f"{broker}_event_time": _time("The broker's time.") for broker in _COMPARED},
    **{
        name: schema
        for measure, schema in _MEASURES.items()
        for name, schema in (
            *((f"{broker}_{measure}", schema) for broker in _COMPARED),
            (f"{measure}_difference", _number("IBKR minus Tastytrade.")),
        )
    },
    **{f"{broker}_age_s": _number("Seconds.") for broker in _COMPARED},
    **{f"{broker}_is_stale": {"type": "boolean"} for broker in _COMPARED},
}
GAP: Final[dict[str, Schema]] = {
    "broker": _BROKER,
    "account_id": _text("Null: every account of the broker."),
    "contract_key": _text("Null: every contract of the account."),
    "started_at": _time("The first moment without data."),
    "ended_at": _time("Null while it lasts."),
    "reason": {"type": "string"},
}
TRADE: Final[dict[str, Schema]] = {
    "id": {"type": "string", "format": "uuid"},
    "created_at": {
        "type": "string",
        "format": "date-time",
        "description": "When it was traded, as it was sent or else recorded.",
    },
    "broker": {"type": "string"},
    "account_id": {"type": "string"},
    "symbol": {"type": "string"},
    "contract_key": _text("Null when the trade is not of an option."),
    "action": {"type": "string"},
    "quantity": _number("Never 0."),
    "price": _number("Per unit of the underlying, in the contract's currency."),
    "strategy_tag": _text("By which the trade can be found."),
    "metadata": {"type": ["object", "null"]},
}


def row_schema(
    columns: Mapping[str, Schema],
    example: Mapping[str, Any],
    *,
    optional: Sequence[str] = (),
) -> Schema:
    """Return the schema of one row."""
    return {
        "type": "object",
        "properties": dict(columns),
        "required": [name for name in columns if name not in optional],
        "examples": [dict(example)],
    }


def list_schema(row: Schema) -> Schema:
    """Return the schema of one page."""
    return {
        "type": "object",
        "properties": {
            "items": {"type": "array", "maxItems": MAX_LIMIT, "items": row},
            "next_cursor": {
                "type": ["string", "null"],
                "description": "For the next page; null when this is the last one.",
            },
        },
        "required": ["items", "next_cursor"],
        "examples": [{"items": row["examples"], "next_cursor": "WzEsIjVmMWMiLFtdXQ"}],
    }
