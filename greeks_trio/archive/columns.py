"""The columns of an archive file, and the SQL that makes and checks its rows.

A checksum proves that two sets of rows are the same.  PostgreSQL computes it in every case:
of the rows in the table, of the rows that were read back from a file, and of the rows that
were loaded.  It is the sum over the rows of the first 8 bytes of SHA-256 of the row as text,
so the order of the rows does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Kind: TypeAlias = Literal[
    "integer", "timestamp", "text", "date", "decimal", "double", "boolean"
]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of ``greek_snapshots`` and of an archive file.

    Attributes:
        unit: The unit of its values, empty if it has none.
    """

    name: str
    kind: Kind
    unit: str = ""

    @property
    def written(self) -> str:
        """Return the SQL expression that writes its value to the file."""
        if self.kind == "timestamp":
            # Without an offset: the file says that all times are in UTC.
            return f"{self.name} at time zone 'UTC'"
        return self.compared

    @property
    def compared(self) -> str:
        """Return the SQL expression whose text is the same for equal values."""
        return f"trim_scale({self.name})" if self.kind == "decimal" else self.name


# In the order of the table.
COLUMNS: Final = (
    Column("id", "integer"),
    Column("event_time", "timestamp", "microseconds, UTC"),
    Column("received_at", "timestamp", "microseconds, UTC"),
    Column("persisted_at", "timestamp", "microseconds, UTC"),
    Column("broker", "text"),
    Column("account_id", "text"),
    Column("underlying", "text"),
    Column("contract_key", "text"),
    Column("expiration", "date"),
    Column("strike", "decimal", "the contract's currency"),
    Column("option_type", "text"),
    Column("quantity", "decimal", "contracts, short negative"),
    Column("delta", "double", "per 1.00 of the underlying"),
    Column("gamma", "double", "per 1.00 of the underlying squared"),
    Column("theta", "double", "per calendar day"),
    Column("vega", "double", "per volatility point (0.01)"),
    Column("rho", "double", "per rate point (0.01)"),
    Column("implied_volatility", "double", "fraction per year"),
    Column("underlying_price", "double", "unit of its quotation"),
    Column("availability", "text"),
    Column("source_payload", "text", "JSON"),
    Column("fingerprint", "integer"),
    Column("underlying_price_at", "timestamp", "microseconds, UTC"),
    Column("price", "double", "unit of its quotation"),
    Column("bid", "double", "unit of its quotation"),
    Column("ask", "double", "unit of its quotation"),
    Column("in_rotation", "boolean"),
)
# Says nothing about a tick: rows that are loaded get another one.
NOT_ARCHIVED: Final = "transaction_id"
NAMES: Final = ", ".join(each.name for each in COLUMNS)
WRITTEN: Final = ", ".join(each.written for each in COLUMNS)
# Numbers of a file have 12 decimal places.
LOADED: Final = ", ".join(each.compared for each in COLUMNS)
KEY: Final = ("broker", "account_id", "contract_key", "event_time", "fingerprint")
KEY_NAMES: Final = ", ".join(KEY)

_ROW: Final = ", ".join(each.compared for each in COLUMNS)
CHECKSUM: Final = (
    "coalesce(sum(('x' || left(encode(sha256(convert_to("
    f"row({_ROW})::text, 'UTF8')), 'hex'), 16))::bit(64)::bigint::numeric), 0)"
)

# The text of a value depends on these settings.
TEXT_SETTINGS: Final = """
set local timezone = 'UTC';
set local datestyle = 'ISO, YMD';
set local extra_float_digits = 1;
set local statement_timeout = 0;
set local idle_in_transaction_session_timeout = 0
"""
