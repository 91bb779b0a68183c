"""The sums over time compared with those that the database has for single moments."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
import psycopg
import pytest
from psycopg.rows import dict_row

from greeks_trio.postgres.reads.risk_history import RiskHistoryFilter, read_risk_history
from greeks_trio.postgres.reads.risk_history_sql import RISK_COUNTS, RISK_SUMS

_TOTALS = """
select *
from risk_totals_asof(
    %s, '{underlying}', %s, %s::text, %s::text, %s::text, %s::text
)
"""
_NAMES = (*RISK_SUMS, *RISK_COUNTS, "oldest_age_s")
# No column of the totals: they count each carried value.
_OF_HISTORY_ONLY = {"carried"}


def agreed_sums(
    connection: psycopg.Connection,
    moments: Sequence[datetime],
    underlying: str,
    *,
    stale_after_s: float = 300.0,
    **filters: str | None,
) -> list[dict]:
    """Assert that the history has the totals of each moment, and return its currencies."""
    wanted = RiskHistoryFilter(
        underlying=underlying,
        moments=moments,
        stale_after_s=stale_after_s,
        **filters,
    )
    found = msgspec.json.decode(read_risk_history(wanted, connection))["currencies"]
    of = [filters.get(name) for name in ("broker", "account_id")]
    for number, moment in enumerate(moments):
        values = [moment, stale_after_s, *of, underlying, filters.get("strategy_tag")]
        cursor = connection.cursor(row_factory=dict_row)
        totals = {
            row["currency"]: row for row in cursor.execute(_TOTALS, values).fetchall()
        }
        held = {each["currency"]: each for each in found if each["positions"][number]}
        assert held.keys() == totals.keys(), moment
        for currency, total in totals.items():
            _assert_same(held[currency], total, number, moment)
    return found


def _assert_same(history: dict, total: dict, number: int, moment: datetime) -> None:
    for name in _NAMES:
        value = history[name][number]
        where = f"{name} at {moment}, {history['currency']}"
        if name in _OF_HISTORY_ONLY:
            carried = [total[each] for each in total if each.startswith("carried_")]
            assert max(carried) <= value <= sum(carried), where
        else:
            expected = total[name]
            if expected is not None:
                expected = pytest.approx(expected, rel=1e-9, abs=1e-9)
            assert value == expected, f"{where}: {value} is not {expected}"
