"""The betas of all underlyings to a benchmark."""

from __future__ import annotations

from datetime import date
from typing import Final

from greeks_trio.postgres.reads.pool import ReadConnection

# Betas are to the S&P 500, whose fund is SPY.
_QUERY: Final = """
with known as (
    select m.symbol, m.beta, m.beta_date from betas_asof('infinity') m
)
select k.symbol, k.beta / reference.beta, k.beta_date
from known k
cross join (
    select case when %(benchmark)s = 'SPY' then 1
        else (select b.beta from known b where b.symbol = %(benchmark)s) end as beta
) reference
where reference.beta <> 0 and (k.symbol <> 'SPY' or %(benchmark)s <> 'SPY')
"""


def read_betas(
    benchmark: str, connection: ReadConnection
) -> dict[str, tuple[float, date | None]]:
    """Return the beta of each underlying to the benchmark, and the day of the beta.

    It has no entry for an underlying without a known beta, and none at all if the beta of
    the benchmark is not known.
    """
    found = connection.execute(_QUERY, {"benchmark": benchmark}).fetchall()
    return {symbol: (beta, day) for symbol, beta, day in found}
