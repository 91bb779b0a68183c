"""Columns of the lists: name, type, meaning and an example, and how PostgreSQL writes them.

Numbers are JSON numbers.  Those that PostgreSQL keeps as ``numeric`` (strike, quantity,
multiplier, price) have all of their digits, so a client that reads them as decimals loses
nothing; doubles have the fewest digits that read back as the same double.  Times are RFC
3339 in UTC with microseconds.  A missing value is null, never 0.

An example is never null, because FastAPI leaves a null out of an example.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias, get_args

from greeks_trio.model.contracts import OptionType
from greeks_trio.model.records import Availability
from greeks_trio.postgres.reads.listing import Column

Schema: TypeAlias = dict[str, Any]

EVENT_TIME: Final = "2026-11-20T15:30:00.000000Z"
RECEIVED_AT: Final = "2026-11-20T15:30:00.012345Z"


@dataclass(frozen=True, slots=True)
class ListColumn(Column):
    """A column with its description.

    Attributes:
        schema: Its JSON schema.
        example: A value of it.
        is_broker: Whether its values are the names of the brokers, which are not known
            here.
    """

    schema: Schema
    example: object
    is_broker: bool = False

    def called(self, name: str) -> ListColumn:
        """Return the same column with another name."""
        return replace(self, name=name)


def _described(about: str) -> Schema:
    return {"description": about} if about else {}


def _typed(name: str, is_null: bool) -> Schema:
    return {"type": [name, "null"] if is_null else name}


def text(
    name: str,
    example: str,
    about: str = "",
    *,
    is_null: bool = True,
) -> ListColumn:
    """Return a column of text."""
    schema = _typed("string", is_null) | _described(about)
    return ListColumn(name, "text", schema, example)


def choice(name: str, values: Iterable[str | None], example: str) -> ListColumn:
    """Return a column of text that has one of these values."""
    return ListColumn(name, "text", {"enum": list(values)}, example)


def number(name: str, example: float, about: str) -> ListColumn:
    """Return a column of numbers, which may be null."""
    schema = _typed("number", is_null=True) | _described(about)
    return ListColumn(name, "plain", schema, example)


def whole(name: str, example: int, about: str) -> ListColumn:
    """Return a column of whole numbers, which are never null."""
    return ListColumn(name, "plain", {"type": "integer", "description": about}, example)


def flag(name: str, about: str = "", *, is_null: bool = False) -> ListColumn:
    """Return a column of truth values."""
    schema = _typed("boolean", is_null) | _described(about)
    return ListColumn(name, "plain", schema, False)


def day(name: str, example: str) -> ListColumn:
    """Return a column of dates, which may be null."""
    schema = _typed("string", is_null=True) | {"format": "date"}
    return ListColumn(name, "plain", schema, example)


def time(name: str, example: str, about: str, *, is_null: bool = True) -> ListColumn:
    """Return a column of times."""
    schema = _typed("string", is_null) | {"format": "date-time", "description": about}
    return ListColumn(name, "time", schema, example)


def json_object(
    name: str, example: object, about: str = "", *, is_null: bool = True
) -> ListColumn:
    """Return a column of JSON objects."""
    schema = _typed("object", is_null) | _described(about)
    return ListColumn(name, "json", schema, example)


def texts(name: str, example: list[str], about: str) -> ListColumn:
    """Return a column of lists of texts, which are never null."""
    schema = {"type": "array", "items": {"type": "string"}, "description": about}
    return ListColumn(name, "texts", schema, example)


def uuid(name: str, example: str) -> ListColumn:
    """Return a column of UUIDs, which are never null."""
    return ListColumn(name, "text", {"type": "string", "format": "uuid"}, example)


def row_schema(
    columns: Sequence[ListColumn],
    brokers: Sequence[str],
    *,
    optional: Sequence[ListColumn] = (),
) -> Schema:
    """Return the JSON schema of one row."""
    return {
        "type": "object",
        "properties": {
            each.name: each.schema | ({"enum": list(brokers)} if each.is_broker else {})
            for each in (*columns, *optional)
        },
        "required": [each.name for each in columns],
        "examples": [{each.name: each.example for each in columns}],
    }


BROKER: Final = ListColumn(
    "broker", "text", {"type": "string"}, "tastytrade", is_broker=True
)
ACCOUNT_ID: Final = text("account_id", "5WX01234", is_null=False)
UNDERLYING: Final = text(
    "underlying", "SPY", "The symbol of the underlying: SPX for SPXW, BRK/B for BRKB."
)
CONTRACT_KEY: Final = text(
    "contract_key",
    "SPY   261218C00600000",
    "The 21-character OCC symbol of an option, ./EX3 270219C7100 of a futures option, "
    "/ESZ27 of a future, BRK/B or RY:CAD of a share, ibkr:702 (the broker and its own "
    "id) of anything else.",
    is_null=False,
)
EXPIRATION: Final = day("expiration", "2026-12-18")
STRIKE: Final = number("strike", 600, "In the currency of the contract.")
OPTION_TYPE: Final = choice("option_type", (*get_args(OptionType), None), "call")
QUANTITY: Final = number(
    "quantity", -3, "Negative for a short position; null where no account holds it."
)
MULTIPLIER: Final = number("multiplier", 100, "Units of the underlying per contract.")
CURRENCY: Final = text("currency", "USD", "ISO 4217, such as USD.")

# A contract that an account holds.
HELD: Final = (
    *(BROKER, ACCOUNT_ID, CONTRACT_KEY, UNDERLYING, EXPIRATION, STRIKE, OPTION_TYPE),
    *(QUANTITY, MULTIPLIER, CURRENCY),
)
MEASURES: Final = (
    number("delta", 0.512, "Per 1.00 of the underlying."),
    number("gamma", 0.0149, "Per 1.00 of the underlying, squared."),
    number("theta", -0.3019, "Per calendar day."),
    number("vega", 0.965, "Per volatility point (0.01)."),
    number("rho", 0.188, "Per rate point (0.01); IBKR sends none."),
    number("implied_volatility", 0.183, "A fraction per year: 0.183 is 18.3 %."),
    number("underlying_price", 601.25, "Last trade, else the middle of bid and ask."),
)
INSTRUMENT_ID: Final = text(
    "instrument_id", "756733123", "The broker's own id: conid, or Tastytrade's symbol."
)
EXCHANGE: Final = text("exchange", "CBOE", "In the broker's words; null if not known.")
PRICE_FACTOR: Final = number(
    "price_factor", 1, "Currency per quoted unit: 0.01 for cents; null if not known."
)
UNDERLYING_PRICE_AT: Final = time(
    "underlying_price_at", EVENT_TIME, "The time of `underlying_price`."
)
PRICE: Final = number("price", 12.35, "The option's theoretical or mark price.")
QUOTES: Final = (
    PRICE,
    number("bid", 12.3, "Bid for the option."),
    number("ask", 12.4, "Ask for the option."),
)
IN_ROTATION_ABOUT: Final = (
    "The contract shares its market data line; its ticks come in turns."
)
AVAILABILITY: Final = choice("availability", get_args(Availability), "realtime")
