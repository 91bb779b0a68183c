"""What is held and what it is worth watching: the risk views, at any moment.

The functions behind the views are asked, not the views, because the age from which a
tick is stale is a setting of the service.  Without a moment they tell of the present one:
everything is known that is.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from psycopg import sql

from greeks_trio.postgres.reads.filters import contract_conditions, equal, expiring
from greeks_trio.postgres.reads.lists import DATE, TEXT, Column, Key, Listing
from greeks_trio.postgres.reads.questions import (
    DivergenceQuestion,
    LatestQuestion,
    PortfolioQuestion,
    PositionsQuestion,
)

_PRESENT: Final = "infinity"

_CONTRACT: Final = (
    Column("broker", "text"),
    Column("account_id", "text"),
    Column("contract_key", "text"),
    Column("underlying", "text"),
    Column("expiration"),
    Column("strike"),
    Column("option_type", "text"),
    Column("quantity"),
    Column("multiplier"),
    Column("currency", "text"),
)
_CONTRACT_KEYS: Final = (
    Key("broker", TEXT),
    Key("account_id", TEXT),
    Key("contract_key", TEXT),
)
_LATEST: Final = (
    *_CONTRACT,
    Column("event_time", "time"),
    Column("received_at", "time"),
    Column("delta"),
    Column("gamma"),
    Column("theta"),
    Column("vega"),
    Column("rho"),
    Column("implied_volatility"),
    Column("underlying_price"),
    Column("availability", "text"),
    Column("age_s"),
    Column("is_stale"),
)
_PORTFOLIO: Final = (
    Column("broker", "text"),
    Column("account_id", "text"),
    Column("currency", "text"),
    Column("underlying", "text"),
    *map(
        Column,
        (
            *("expiration", "contracts", "shares_futures", "other_positions"),
            *("option_delta", "share_future_delta", "gamma", "theta", "vega", "rho"),
            *("dollar_delta", "dollar_gamma"),
            *("missing_tick", "missing_multiplier", "missing_price"),
            *("missing_delta", "missing_share_future_delta", "missing_gamma"),
            *("missing_theta", "missing_vega", "missing_rho"),
            *("missing_dollar_delta", "missing_dollar_gamma"),
            *("stale", "not_realtime", "oldest_age_s"),
        ),
    ),
)
_PORTFOLIO_KEYS: Final = (
    Key("broker", TEXT),
    Key("account_id", TEXT),
    Key("currency", TEXT, if_null=""),
    Key("underlying", TEXT, if_null=""),
    Key("expiration", DATE, if_null="infinity"),
)
_MEASURES: Final = (
    *("delta", "gamma", "theta", "vega", "rho"),
    *("implied_volatility", "underlying_price"),
)
_DIVERGENCE: Final = (
    Column("contract_key", "text"),
    Column("underlying", "text"),
    Column("expiration"),
    Column("strike"),
    Column("option_type", "text"),
    Column("ibkr_event_time", "time"),
    Column("tastytrade_event_time", "time"),
    *(
        Column(name)
        for each in _MEASURES
        for name in (f"ibkr_{each}", f"tastytrade_{each}", f"{each}_difference")
    ),
    Column("ibkr_age_s"),
    Column("tastytrade_age_s"),
    Column("ibkr_is_stale"),
    Column("tastytrade_is_stale"),
)


def latest_listing(asked: LatestQuestion, stale_after_s: float) -> Listing:
    """Return the newest Greeks of each contract, with their age."""
    return Listing(
        columns=_LATEST,
        keys=_CONTRACT_KEYS,
        source=sql.SQL("greeks_asof(%s::timestamptz, %s::double precision) src"),
        source_params=[_moment(asked.at), stale_after_s],
        conditions=[
            *contract_conditions(asked),
            *equal("broker", asked.broker),
            *equal("account_id", asked.account_id),
            *equal("is_stale", asked.is_stale),
        ],
    )


def positions_listing(asked: PositionsQuestion) -> Listing:
    """Return what is held, of any kind."""
    return Listing(
        columns=(*_CONTRACT, Column("kind", "text"), Column("observed_at", "time")),
        keys=_CONTRACT_KEYS,
        source=sql.SQL("positions_asof(%s::timestamptz) src"),
        source_params=[_moment(asked.at)],
        conditions=[
            *contract_conditions(asked),
            *equal("broker", asked.broker),
            *equal("account_id", asked.account_id),
            *equal("kind", asked.kind),
        ],
    )


def portfolio_listing(asked: PortfolioQuestion, stale_after_s: float) -> Listing:
    """Return the sums for each account, currency, underlying and expiration."""
    return Listing(
        columns=_PORTFOLIO,
        keys=_PORTFOLIO_KEYS,
        source=sql.SQL("portfolio_asof(%s::timestamptz, %s::double precision) src"),
        source_params=[_moment(asked.at), stale_after_s],
        conditions=[
            *equal("broker", asked.broker),
            *equal("account_id", asked.account_id),
            *equal("currency", asked.currency),
            *equal("underlying", asked.underlying),
            *expiring(asked.expiration_from, asked.expiration_to),
        ],
    )


def divergence_listing(asked: DivergenceQuestion) -> Listing:
    """Return the contracts that both brokers have, side by side."""
    return Listing(
        columns=_DIVERGENCE,
        keys=(Key("contract_key", TEXT),),
        source=sql.SQL("broker_divergence src"),
        conditions=contract_conditions(asked),
    )


def _moment(at: datetime | None) -> Any:  # noqa: ANN401
    return _PRESENT if at is None else at
