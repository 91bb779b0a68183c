"""What was asked for as conditions, each with its parameters."""

from __future__ import annotations

from datetime import date, datetime
from typing import TypeAlias

from psycopg import sql

from greeks_trio.postgres.reads.lists import Condition
from greeks_trio.postgres.reads.questions import (
    DivergenceQuestion,
    LatestQuestion,
    PositionsQuestion,
    SnapshotsQuestion,
)

_OfContracts: TypeAlias = (
    SnapshotsQuestion | LatestQuestion | PositionsQuestion | DivergenceQuestion
)


def contract_conditions(asked: _OfContracts) -> list[Condition]:
    """Return what says which contracts are meant."""
    return [
        *equal("contract_key", asked.contract_key),
        *equal("underlying", asked.underlying),
        *equal("option_type", asked.option_type),
        *expiring(asked.expiration_from, asked.expiration_to),
    ]


def expiring(first: date | None, last: date | None) -> list[Condition]:
    """Return what says when the contracts expire, both days included."""
    column = sql.Identifier("src", "expiration")
    conditions: list[Condition] = []
    if first is not None:
        conditions.append((sql.SQL("{} >= %s").format(column), [first]))
    if last is not None:
        conditions.append((sql.SQL("{} <= %s").format(column), [last]))
    return conditions


def equal(name: str, value: object) -> list[Condition]:
    """Return that a column is exactly this, nothing if any value will do."""
    if value is None:
        return []
    return [(sql.SQL("{} = %s").format(sql.Identifier("src", name)), [value])]


def since(name: str, start: datetime | None, end: datetime | None) -> list[Condition]:
    """Return that a time lies between these, the end excluded."""
    column = sql.Identifier("src", name)
    conditions: list[Condition] = []
    if start is not None:
        conditions.append((sql.SQL("{} >= %s").format(column), [start]))
    if end is not None:
        conditions.append((sql.SQL("{} < %s").format(column), [end]))
    return conditions
