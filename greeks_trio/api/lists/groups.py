"""The parameter ``group_by`` of the lists of sums."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Final, TypeAlias

from pydantic import AfterValidator, WithJsonSchema

from greeks_trio.api.lists import columns, parameters, position_filters
from greeks_trio.api.lists.parameters import Parameter
from greeks_trio.api.lists.position_filters import checked_names
from greeks_trio.postgres.reads.listing import Key

# The columns that a sum can be grouped by.  Every sum is of one currency.
_COLUMNS: Final = (
    *("broker", "account_id", "underlying", "expiration", "expiration_bucket"),
    *("strategy_tag", "currency"),
)
_BOOK: Final = "book"
_GROUPS: Final = (*_COLUMNS, _BOOK)


def _checked_groups(text: str) -> str:
    """Return the names of the columns, each once.

    Raises:
        ValueError: one of them is unknown, or the book is not alone.
    """
    names = checked_names(text, _GROUPS)
    if _BOOK in names.split(",") and names != _BOOK:
        raise ValueError(f"has {_BOOK}, which goes with no other name")
    return names


_ONE: Final = "|".join(_COLUMNS)
_GroupBy: TypeAlias = Annotated[
    str,
    AfterValidator(_checked_groups),
    WithJsonSchema({"type": "string", "pattern": f"^(book|({_ONE})(,({_ONE}))*)$"}),
]
GROUP_BY: Final = Parameter(
    name="group_by",
    type=_GroupBy,
    condition=None,
    about=f"One or more of {', '.join(_COLUMNS)}, with commas between them; or "
    f"{_BOOK} for the whole.  Default: underlying.  `account_id` includes the broker.",
    example="underlying,strategy_tag",
)
# The source of the sums takes these; the currency is one of its columns.
FILTERS: Final = (
    *(
        replace(each, condition=None)
        for each in (
            *(parameters.BROKER, parameters.ACCOUNT_ID, parameters.UNDERLYING),
            *(position_filters.EXPIRATION, position_filters.EXPIRATION_BUCKET),
            *(position_filters.STRATEGY_TAG, position_filters.WITHOUT),
        )
    ),
    position_filters.CURRENCY,
)
GROUP_COLUMNS: Final = (
    replace(columns.BROKER, schema={"type": ["string", "null"]}, is_broker=False),
    columns.text("account_id", "5WX01234", "Null unless grouped by it."),
    columns.text("underlying", "SPY", "Null unless grouped by it."),
    *(columns.EXPIRATION, position_filters.BUCKET_COLUMN),
    position_filters.STRATEGY_TAG_COLUMN,
    columns.text(
        "currency",
        "USD",
        "Positions whose broker names none count as USD.",
        is_null=False,
    ),
    columns.whole("place", 0, "Of an expiration bucket in their order."),
)
GROUP_KEYS: Final = (
    Key("place", "bigint"),
    Key("broker", "text", if_null=""),
    Key("account_id", "text", if_null=""),
    Key("underlying", "text", if_null=""),
    Key("expiration", "date", if_null="infinity"),
    Key("strategy_tag", "text", if_null=""),
    Key("currency", "text"),
)
