"""The list of the totals: sums of the positions, in groups."""

from __future__ import annotations

from functools import partial
from typing import Final

from greeks_trio.api.lists import benchmark, columns, groups, parameters
from greeks_trio.api.lists.parameters import Parameter
from greeks_trio.api.lists.resource import ListResource
from greeks_trio.postgres.reads.sources import risk_totals_asof

_SUM: Final = "In the currency."
_UNITS: Final = "In units of the underlying; null if there are several."
_LACKING: Final = "Positions that the sum lacks."
_WHY: Final = "Positions that lack it and are therefore not in the sums."
_CARRIED: Final = "Contracts whose value is from an older tick than the newest."
_ESTIMATED: Final = "The part of the sum that is estimated; 0 without `with_estimates`."
_WITH_ESTIMATES: Final = Parameter(
    name="with_estimates",
    type=bool,
    condition=None,
    about="True: estimates take the place of missing and stale Greeks, as in "
    "`/v1/portfolio/estimates`.  Only for the present.",
)

RISK_TOTALS: Final = ListResource(
    path="/v1/risk/totals",
    name="risk_totals",
    tag="risk",
    about="Return sums of the positions by what `group_by` says, one currency each.\n\n"
    "Beside each sum is the count of the positions that it lacks.  A sum is null if none "
    "of its values is known.  Units of several underlyings do not add up: then "
    "`net_delta`, `option_delta`, `share_future_delta` and `gamma` are null, and "
    "`dollar_delta` says it in money.  A beta that is not known is never assumed.",
    file_name="risk_totals",
    source=partial(risk_totals_asof, "SPY"),
    parameters=(
        *(groups.GROUP_BY, *groups.FILTERS),
        *(benchmark.BENCHMARK, _WITH_ESTIMATES),
        parameters.AT,
    ),
    columns=(
        *groups.GROUP_COLUMNS,
        columns.whole("positions", 3, "Of any kind."),
        columns.whole("contracts", 2, "Options that are held."),
        columns.whole("shares_futures", 1, "Positions in shares and futures."),
        columns.whole("other_positions", 0, "Positions that no sum includes."),
        columns.whole("unknown_positions", 0, "Of these, the unidentified ones."),
        columns.whole(
            "unnamed_currency", 0, "Positions whose broker names no currency."
        ),
        columns.whole("underlyings", 1, "Different ones."),
        *(
            columns.number(name, value, _UNITS)
            for name, value in (
                *(("net_delta", -53.6), ("option_delta", -153.6)),
                *(("share_future_delta", 100), ("gamma", -4.47)),
            )
        ),
        columns.number("dollar_delta", -32227, "For a move of 100 %, in the currency."),
        columns.number("dollar_gamma", -16159.3, "For a move of 1 %, in the currency."),
        *(
            columns.number(name, value, _SUM)
            for name, value in (
                *(("theta", 90.57), ("vega", -289.5), ("rho", -56.4)),
                ("market_value", 56420),
            )
        ),
        *(
            columns.whole(f"missing_{name}", 0, _WHY)
            for name in ("tick", "multiplier", "price", "price_factor")
        ),
        *(
            columns.whole(f"missing_{name}", 0, _LACKING)
            for name in (
                *("net_delta", "gamma", "dollar_delta", "dollar_gamma", "theta"),
                *("vega", "rho", "value"),
            )
        ),
        columns.whole("stale", 0, "Positions whose values are stale."),
        columns.whole(
            "not_realtime", 0, "Positions with a value that is not real-time."
        ),
        columns.number("oldest_age_s", 1.25, "Seconds."),
        *(
            columns.whole(f"carried_{name}", 0, _CARRIED)
            for name in ("delta", "gamma", "theta", "vega", "rho", "value")
        ),
        columns.number("oldest_carried_age_s", 2.5, "Seconds."),
        columns.text("benchmark", "SPY", is_null=False),
        *(*benchmark.WEIGHTED, *benchmark.PRICE),
        columns.whole(
            "missing_beta_weighted",
            2,
            "Positions that `beta_weighted_dollar_delta` lacks, for any reason.",
        ),
        *(*benchmark.REASONS, *benchmark.OF_BENCHMARK, *benchmark.OLDEST),
        columns.whole("estimated_contracts", 0, "Contracts with an estimate in a sum."),
        *(
            columns.number(f"estimated_{name}", 0, _ESTIMATED)
            for name in (
                *("net_delta", "gamma", "dollar_delta", "dollar_gamma", "theta"),
                *("vega", "rho"),
            )
        ),
        columns.number(
            "oldest_estimate_age_s",
            2.5,
            "Seconds since the oldest input of an estimate.",
        ),
    ),
    keys=groups.GROUP_KEYS,
)
