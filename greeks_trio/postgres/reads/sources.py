"""The rows that the lists are made of: tables, views and functions of the database.

Discussion of the ticks: the primary key begins with broker, account and contract, so the
ticks of one contract are in the order of time within one account only.  A list of one
contract in all accounts is therefore put together from one list for each account.  The
accounts also come from the primary key: the query steps from one to the next.  Every
other list of ticks follows the index on ``event_time``, which has the order of the list,
and stops when the page is full.

Discussion of the risk views: the lists use the functions behind the views, because the
age from which a tick is stale is a setting of the service.  Without a moment these
functions give everything that is known now; ``greeks_now`` is the fast way to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from psycopg import sql

from greeks_trio.postgres.reads.listing import Parts, Source

# From the values of the filters, and the age in seconds from which a contract is stale.
MakeSource: TypeAlias = Callable[[Mapping[str, Any], float], Source]

_PRESENT: Final = "infinity"
_START: Final = sql.SQL("coalesce(%s::timestamptz, start_of_day(%s::timestamptz))")
# The values that the functions of sums take one by one, in their order.
_FILTERS: Final = (
    *("broker", "account_id", "underlying", "strategy_tag", "expiration"),
    "expiration_bucket",
)

ACCOUNTS: Final = sql.SQL("""(
    with recursive accounts (broker, account_id) as (
        (
            select g.broker, g.account_id
            from greek_snapshots g
            order by g.broker, g.account_id
            limit 1
        )
        union all
        select next.broker, next.account_id
        from accounts
        cross join lateral (
            select g.broker, g.account_id
            from greek_snapshots g
            where (g.broker, g.account_id) > (accounts.broker, accounts.account_id)
            order by g.broker, g.account_id
            limit 1
        ) next
    )
    select broker, account_id from accounts
) part""")
_OF_ONE_ACCOUNT: Final = sql.SQL(
    "src.broker = part.broker and src.account_id = part.account_id"
)


def relation(name: str) -> MakeSource:
    """Return the source that is a table or a view as it is."""
    source = Source(sql.SQL("{} src").format(sql.Identifier(name)))
    return lambda _values, _stale_after_s: source


def ticks(values: Mapping[str, Any], _stale_after_s: float) -> Source:
    """Return the stored ticks, by account where one contract is wanted in several."""
    is_by_account = values["contract_key"] is not None and (
        values["broker"] is None or values["account_id"] is None
    )
    return Source(
        sql.SQL("greek_snapshots src"),
        parts=Parts(ACCOUNTS, _OF_ONE_ACCOUNT) if is_by_account else None,
    )


def greeks_asof(values: Mapping[str, Any], stale_after_s: float) -> Source:
    """Return the newest Greeks of each contract that is held or watched."""
    if values.get("at") is None:
        return Source(sql.SQL("greeks_now(%s::double precision) src"), [stale_after_s])
    return Source(
        sql.SQL("greeks_asof(%s::timestamptz, %s::double precision) src"),
        [_moment(values), stale_after_s],
    )


def portfolio_asof(values: Mapping[str, Any], stale_after_s: float) -> Source:
    """Return the sums for each account, currency, underlying and expiration."""
    return Source(
        sql.SQL("portfolio_asof(%s::timestamptz, %s::double precision) src"),
        [_moment(values), stale_after_s],
    )


def greeks_with_estimates(_values: Mapping[str, Any], stale_after_s: float) -> Source:
    """Return the newest Greeks with estimates of those that are missing or stale."""
    return Source(
        sql.SQL("greeks_with_estimates_now(%s::double precision) src"), [stale_after_s]
    )


def portfolio_with_estimates(
    _values: Mapping[str, Any], stale_after_s: float
) -> Source:
    """Return the sums with estimates, and the parts of them that are estimated."""
    return Source(
        sql.SQL("portfolio_with_estimates_now(%s::double precision) src"),
        [stale_after_s],
    )


def positions_asof(values: Mapping[str, Any], _stale_after_s: float) -> Source:
    """Return the positions of any kind."""
    return Source(sql.SQL("positions_asof(%s::timestamptz) src"), [_moment(values)])


def account_values_asof(values: Mapping[str, Any], stale_after_s: float) -> Source:
    """Return the newest values of each account."""
    return Source(
        sql.SQL("account_values_asof(%s::timestamptz, %s::double precision) src"),
        [_moment(values), stale_after_s],
    )


def position_greeks_asof(values: Mapping[str, Any], stale_after_s: float) -> Source:
    """Return each open position with its part of the sums."""
    return Source(
        sql.SQL("position_greeks_asof(%s::timestamptz, %s::double precision) src"),
        [_moment(values), stale_after_s],
    )


def risk_totals_asof(
    benchmark: str, values: Mapping[str, Any], stale_after_s: float
) -> Source:
    """Return the sums by the columns that ``group_by`` names, with commas between them."""
    return Source(
        sql.SQL(
            "risk_totals_asof(%s::timestamptz, %s::text[], %s::double precision, %s::text,"
            " %s::text, %s::text, %s::text, %s::date, %s::text, %s::text[], %s::text,"
            " %s::boolean) src"
        ),
        [
            _moment(values),
            *_grouped(values, stale_after_s),
            values["benchmark"] or benchmark,
            bool(values["with_estimates"]),
        ],
    )


def profit_totals(values: Mapping[str, Any], stale_after_s: float) -> Source:
    """Return the profits and losses between two moments, grouped as the totals are."""
    return Source(
        sql.SQL(
            "profit_totals({}, %s::timestamptz, %s::text[], %s::double precision, %s::text,"
            " %s::text, %s::text, %s::text, %s::date, %s::text, %s::text[]) src"
        ).format(_START),
        [*_interval(values), *_grouped(values, stale_after_s)],
    )


def position_profit(values: Mapping[str, Any], stale_after_s: float) -> Source:
    """Return the profit or loss of each position between two moments."""
    return Source(
        sql.SQL(
            "position_profit({}, %s::timestamptz, %s::double precision) src"
        ).format(_START),
        [*_interval(values), stale_after_s],
    )


def market_metrics_asof(values: Mapping[str, Any], _stale_after_s: float) -> Source:
    """Return the newest betas and implied volatilities of each underlying."""
    return Source(
        sql.SQL("market_metrics_asof(%s::timestamptz) src"), [_moment(values)]
    )


def beta_weighted_asof(
    benchmark: str, values: Mapping[str, Any], stale_after_s: float
) -> Source:
    """Return the deltas in terms of a benchmark, by default of this one."""
    return Source(
        sql.SQL(
            "beta_weighted_asof(%s::timestamptz, %s::text, %s::double precision) src"
        ),
        [_moment(values), values.get("benchmark") or benchmark, stale_after_s],
    )


def beta_weighted_totals_asof(
    benchmark: str, values: Mapping[str, Any], stale_after_s: float
) -> Source:
    """Return the sums of `beta_weighted_asof`."""
    return Source(
        sql.SQL(
            "beta_weighted_totals_asof(%s::timestamptz, %s::text, %s::double precision)"
            " src"
        ),
        [_moment(values), values.get("benchmark") or benchmark, stale_after_s],
    )


def volatility_skew_asof(values: Mapping[str, Any], stale_after_s: float) -> Source:
    """Return the smile of each underlying and expiration."""
    return Source(
        sql.SQL("volatility_skew_asof(%s::timestamptz, %s::double precision) src"),
        [_moment(values), stale_after_s],
    )


def volatility_term_structure_asof(
    values: Mapping[str, Any], stale_after_s: float
) -> Source:
    """Return the volatilities at the money of each underlying."""
    return Source(
        sql.SQL(
            "volatility_term_structure_asof(%s::timestamptz, %s::double precision) src"
        ),
        [_moment(values), stale_after_s],
    )


def _moment(values: Mapping[str, Any]) -> Any:  # noqa: ANN401
    at = values.get("at")
    return _PRESENT if at is None else at


def _interval(values: Mapping[str, Any]) -> list[Any]:
    """Return the start, the moment whose day gives the default of it, and the end."""
    end = _PRESENT if values["end"] is None else values["end"]
    return [values["start"], end, end]


def _grouped(values: Mapping[str, Any], stale_after_s: float) -> list[Any]:
    """Return the arguments that every function of sums takes in this order.

    Every sum is of one currency, so this name and that of the whole book change nothing.
    """
    names = (values["group_by"] or "underlying").split(",")
    without = values["without"]
    return [
        [name for name in names if name not in ("book", "currency")],
        stale_after_s,
        *(values[name] for name in _FILTERS),
        None if without is None else without.split(","),
    ]
