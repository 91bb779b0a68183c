"""The filters of the lists about risk, and the columns that they choose by.

A row of a total has values, or nulls where its positions have none.  These filters choose the
positions of any row, so that a page can go from a total to its parts: each value has a filter
of its own, and ``without`` chooses by nulls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Final, Literal, TypeAlias, get_args

from psycopg import sql
from pydantic import AfterValidator, WithJsonSchema

from greeks_trio.api.lists import columns, parameters
from greeks_trio.api.lists.parameters import Day, Parameter
from greeks_trio.postgres.reads.conditions import Condition

Bucket: TypeAlias = Literal[
    "expired", "0DTE", "1-7", "8-30", "31-90", "91-365", "over 365"
]
_NULLABLE: Final = ("expiration", "strategy_tag")

STRATEGY_TAG_COLUMN: Final = columns.text(
    "strategy_tag", "iron condor", "Of `/v1/position-tags`, else of the newest trade."
)
BUCKET_COLUMN: Final = replace(
    columns.choice("expiration_bucket", get_args(Bucket), "31-90"),
    schema={
        "enum": [*get_args(Bucket), None],
        "description": "Days to the expiration.",
    },
)


def checked_names(text: str, known: Sequence[str]) -> str:
    """Return the names with commas between them, each once.

    Raises:
        ValueError: one of them is unknown.
    """
    names = tuple(dict.fromkeys(text.split(",")))
    if unknown := [name for name in names if name not in known]:
        raise ValueError(
            f"has {unknown[0][:40]!a}; it takes {', '.join(known)}, several with "
            "commas between them"
        )
    return ",".join(names)


_ONE: Final = "|".join(_NULLABLE)
_Without: TypeAlias = Annotated[
    str,
    AfterValidator(lambda text: checked_names(text, _NULLABLE)),
    WithJsonSchema({"type": "string", "pattern": f"^({_ONE})(,({_ONE}))*$"}),
]


def _all_null(names: str) -> Condition:
    parts = [
        sql.SQL("{} is null").format(sql.Identifier("src", name))
        for name in names.split(",")
    ]
    return sql.SQL(" and ").join(parts), []


def _in_currency(currency: str) -> Condition:
    return sql.SQL("coalesce(src.currency, 'USD') = %s"), [currency]


EXPIRATION: Final = parameters.exactly(
    "expiration", Day, "The last day of the contracts.", example="2026-12-18"
)
EXPIRATION_BUCKET: Final = parameters.exactly("expiration_bucket", Bucket)
STRATEGY_TAG: Final = parameters.text("strategy_tag")
WITHOUT: Final = Parameter(
    name="without",
    type=_Without,
    condition=_all_null,
    about="`expiration`: only positions that do not expire, such as shares. "
    "`strategy_tag`: only positions without a strategy. Both with a comma between them.",
    example="strategy_tag",
)
CURRENCY: Final = Parameter(
    name="currency",
    type=parameters.Text,
    condition=_in_currency,
    about="Positions whose broker names none count as USD.",
    example="USD",
)
# Those beside broker, account and underlying.
CHOICES: Final = (EXPIRATION, EXPIRATION_BUCKET, STRATEGY_TAG, WITHOUT, CURRENCY)
