"""A profit or loss between two moments, explained by Greeks, trades and a residual.

Each position is followed from tick to tick.  The broker's delta, gamma, theta and vega at the
start of a step explain the change of the price to its end.  The closed form of European
options gives vanna, vomma and charm, also for American ones: over one step these parts are
small.  The timeline has no rates of interest, so rho explains nothing.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import numpy as np

from greeks_trio.risk.european import value_european
from greeks_trio.risk.explain_quantities import Unknown, expires_at
from greeks_trio.risk.explain_records import (
    MAX_LEFT_OUT,
    ContractPath,
    Explained,
    ExplainRequest,
    Explanation,
    GroupBy,
    LeftOut,
    NothingToExplain,
    Outage,
    Paths,
    Ticks,
)
from greeks_trio.risk.explain_walk import (
    FIRST_ORDER,
    LINEAR,
    SECOND_ORDER,
    Walk,
    walk,
)
from greeks_trio.risk.valuation import DAYS_PER_YEAR

_SECONDS_PER_YEAR: Final = DAYS_PER_YEAR * 86_400.0
_MISSING: Final = (*FIRST_ORDER, "second_order")
_COLUMNS: Final[dict[GroupBy, tuple[str, ...]]] = {
    "currency": (),
    "book": (),
    "broker": ("broker",),
    "account_id": ("broker", "account_id"),
    "underlying": ("underlying",),
    "expiration": ("underlying", "expiration"),
    "expiration_bucket": ("expiration_bucket",),
    "strategy_tag": ("strategy_tag",),
    "contract_key": ("broker", "account_id", "contract_key"),
}


def explain(request: ExplainRequest, paths: Paths) -> Explanation:
    """Return the parts of the profit or loss, for each currency and each group.

    Raises:
        NothingToExplain: No position was held, or none has a price.
    """
    start, end = request.start.timestamp(), request.end.timestamp()
    walks, left_out = _walk_all(request, paths.contracts, start, end)
    if not walks and not left_out:
        raise NothingToExplain(
            "No position was held between `start` and `end`. `/v1/positions?at=` shows"
            " the positions at a moment."
        )
    _add_second_order(walks, request.rate)
    rows = [_row(each, paths.outages) for each in walks]
    return Explanation(
        start=request.start,
        end=request.end,
        step_s=paths.step_s,
        rate=request.rate,
        group_by=request.group_by,
        totals=_grouped(rows, "currency"),
        groups=[]
        if not _COLUMNS[request.group_by]
        else _grouped(rows, request.group_by),
        left_out=left_out[:MAX_LEFT_OUT],
        left_out_count=len(left_out),
        outages=paths.outages,
        notes=_notes(walks, paths),
    )


def _walk_all(
    request: ExplainRequest, paths: Sequence[ContractPath], start: float, end: float
) -> tuple[list[Walk], list[LeftOut]]:
    walks: list[Walk] = []
    left_out: list[LeftOut] = []
    for path in paths:
        if not _is_wanted(request, path):
            continue
        try:
            result = walk(_with_price(path, paths), start, end)
        except Unknown as exc:
            left_out.append(_left_out(path, str(exc)))
        else:
            if result is not None:
                walks.append(result)
    return walks, left_out


def _is_wanted(request: ExplainRequest, path: ContractPath) -> bool:
    return (
        request.underlying in (None, path.underlying)
        and request.strategy_tag in (None, path.strategy_tag)
        and request.expiration in (None, path.expiration)
        and request.expiration_bucket in (None, path.expiration_bucket)
        and request.currency in (None, path.currency)
        and all(getattr(path, name) is None for name in request.without)
    )


def _left_out(path: ContractPath, reason: str) -> LeftOut:
    return LeftOut(
        path.broker, path.account_id, path.contract_key, path.underlying, reason
    )


def _with_price(path: ContractPath, paths: Sequence[ContractPath]) -> ContractPath:
    """Give shares and futures the prices that came with an option on them.

    Raises:
        Unknown: The position has no price.
    """
    if path.kind in ("option", "future_option"):
        return path
    if path.kind not in LINEAR:
        raise Unknown(f"positions of the kind {path.kind} have no price")
    options = [
        each
        for each in paths
        if each.underlying == path.underlying
        and each.currency == path.currency
        and each.kind == ("option" if path.kind == "equity" else "future_option")
    ]
    lent = max(
        (_underlying_prices(each.ticks) for each in options if options),
        key=lambda ticks: len(ticks.at),
        default=Ticks(),
    )
    if not lent.at:
        raise Unknown("no option on it gives its price")
    return msgspec.structs.replace(path, ticks=lent)


def _underlying_prices(ticks: Ticks) -> Ticks:
    """Return the price of the underlying at each tick that has one."""
    known = [
        (at, price)
        for at, price in zip(ticks.at, ticks.underlying_price, strict=True)
        if price is not None
    ]
    none: list[float | None] = [None] * len(known)
    prices = [price for _, price in known]
    return Ticks(
        at=[at for at, _ in known],
        price=prices,
        underlying_price=[*prices],
        implied_volatility=none,
        delta=none,
        gamma=none,
        theta=none,
        vega=none,
    )


def _add_second_order(walks: Sequence[Walk], rate: float) -> None:
    """Price all steps of all contracts at once."""
    steps = [(each, step) for each in walks for step in each.model_steps]
    if not steps:
        return
    at, spot, volatility, d_spot, d_volatility, days, units = np.array(
        [step for _, step in steps]
    ).T
    numbers = [len(each.model_steps) for each in walks]

    def of_contract(values: Iterable[Any]) -> Any:  # noqa: ANN401 - of numpy
        return np.repeat(np.array(list(values)), numbers)

    is_on_future = of_contract(each.path.kind == "future_option" for each in walks)
    value = value_european(
        of_contract(each.path.option_type == "call" for each in walks),
        spot,
        of_contract(each.path.strike or math.nan for each in walks),
        (of_contract(expires_at(each.path) for each in walks) - at) / _SECONDS_PER_YEAR,
        volatility,
        rate,
        np.where(is_on_future, rate, 0.0),
    )
    amounts = np.array(
        [
            value.vanna * d_spot * d_volatility,
            0.5 * value.vomma * d_volatility * d_volatility,
            value.charm * d_spot * days,
        ]
    )
    amounts *= units
    is_known = np.isfinite(amounts).all(axis=0)
    for place, (each, _) in enumerate(steps):
        if not is_known[place]:
            each.missing.add("second_order")
            continue
        for name, amount in zip(SECOND_ORDER, amounts[:, place].tolist(), strict=True):
            each.amounts[name].append(amount)


def _row(each: Walk, outages: Sequence[Outage]) -> Explained:
    """Return the row of one position."""
    path = each.path
    gaps = _gap_gains(each, outages)
    parts: dict[str, Any] = {
        name: None
        if each.steps and not amounts and path.kind not in LINEAR
        else math.fsum(amounts)
        for name, amounts in each.amounts.items()
    }
    return Explained(
        group={
            "broker": path.broker,
            "account_id": path.account_id,
            "underlying": path.underlying,
            "expiration": None
            if path.expiration is None
            else path.expiration.isoformat(),
            "expiration_bucket": path.expiration_bucket,
            "strategy_tag": path.strategy_tag,
            "contract_key": path.contract_key,
        },
        currency=path.currency,
        contracts=1,
        unnamed_currency=int(path.is_currency_unnamed),
        steps=len(each.steps),
        start_value=each.start_value,
        end_value=each.end_value,
        trades=math.fsum(each.trades),
        profit_loss=each.profit_loss,
        rho=None,
        trading=math.fsum(each.trading),
        residual=each.residual,
        without_tick=int(not each.has_tick),
        trades_at_price=each.valued.count("price"),
        trades_at_mark=each.valued.count("mark"),
        splits=each.valued.count("split"),
        expired=each.valued.count("expired"),
        from_first_price=int(each.first_price_at is not None),
        first_seen=each.valued.count("first_seen"),
        unused_trades=each.unused_trades,
        gap_steps=len(gaps),
        gap_change=math.fsum(gaps),
        **parts,
        **{f"missing_{name}": int(name in each.missing) for name in _MISSING},
    )


def _gap_gains(each: Walk, outages: Sequence[Outage]) -> list[float]:
    """Return the gains of the steps over an outage."""
    starts = [step.start for step in each.steps]
    ends = [step.end for step in each.steps]
    places: set[int] = set()
    for outage in outages:
        if (
            outage.broker == each.path.broker
            and outage.account_id in (None, each.path.account_id)
            and outage.contract_key in (None, each.path.contract_key)
        ):
            ended_at = outage.ended_at
            last = math.inf if ended_at is None else ended_at.timestamp()
            first = bisect_right(ends, outage.started_at.timestamp())
            places.update(range(first, bisect_left(starts, last)))
    return [each.steps[place].gain for place in places]


def _grouped(rows: Sequence[Explained], by: GroupBy) -> list[Explained]:
    """Return one row for each group and currency, the largest profit or loss first."""
    columns = _COLUMNS[by]
    groups: dict[tuple[str, tuple[str | None, ...]], list[Explained]] = {}
    for row in rows:
        values = tuple(row.group[name] for name in columns)
        groups.setdefault((row.currency, values), []).append(row)
    sums = [
        _sum(members, dict(zip(columns, values, strict=True)), currency)
        for (currency, values), members in groups.items()
    ]
    return sorted(sums, key=lambda row: -abs(row.profit_loss))


def _sum(
    rows: Sequence[Explained], group: dict[str, str | None], currency: str
) -> Explained:
    sums: dict[str, Any] = {}
    for name in Explained.__struct_fields__:
        if name in ("group", "currency"):
            continue
        values = [getattr(row, name) for row in rows]
        known = [value for value in values if value is not None]
        if not known:
            sums[name] = None
        else:
            is_count = isinstance(known[0], int)
            sums[name] = sum(known) if is_count else math.fsum(known)
    return Explained(group=group, currency=currency, **sums)


def _notes(walks: Sequence[Walk], paths: Paths) -> list[str]:
    notes = [
        "The timeline has no rates of interest, so rho is null and the effect of rates is"
        " in the residual."
    ]
    seen = {
        (each.path.broker, each.path.account_id): each.path.seen_from
        for each in walks
        if each.path.seen_from is not None
    }
    notes += [
        f"The positions of {broker} {account_id} are known from {at:%Y-%m-%d %H:%M:%S} UTC"
        " on. They count as opened then, at the mark."
        for (broker, account_id), at in sorted(seen.items())
        if at is not None
    ]
    late = [each.first_price_at for each in walks if each.first_price_at is not None]
    if late:
        notes.append(
            f"{len(late)} positions have no price before the start. They count from their"
            f" first price after it; the last one came at"
            f" {datetime.fromtimestamp(max(late), UTC):%Y-%m-%d %H:%M:%S} UTC."
        )
    if paths.outages_left_out:
        notes.append(f"{paths.outages_left_out} more outages are not listed.")
    return notes
