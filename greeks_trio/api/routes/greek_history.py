"""``GET /v1/greeks/history`` and ``/v1/greeks/sparklines``: values over time for charts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Query, Response
from pydantic import create_model

from greeks_trio.api.answers import described, json_answer
from greeks_trio.api.lists.parameters import (
    ACCOUNT_ID,
    BROKER,
    CONTRACT_KEY,
    Parameter,
    required,
)
from greeks_trio.api.routes.greek_history_params import HistoryParams, sparklines_params
from greeks_trio.api.routes.greek_history_schema import HISTORY, SPARKLINES
from greeks_trio.api.routes.past_interval import last_hour
from greeks_trio.api.routes.scenario_params import invalid
from greeks_trio.api.store_problems import STORE_PROBLEMS, store_problems
from greeks_trio.postgres.reads.greek_history import (
    MAX_LOOKS,
    HistoryFilter,
    TooManyPoints,
)
from greeks_trio.postgres.reads.sparklines import SparklinesFilter
from greeks_trio.postgres.reads.time_grid import TimeGrid
from greeks_trio.postgres.reads.timeline import Timeline

_SERIES: Final[Sequence[Parameter]] = (required(CONTRACT_KEY), BROKER, ACCOUNT_ID)


def make_router(
    timeline: Timeline, brokers: Sequence[str], now: Callable[[], datetime]
) -> APIRouter:
    """Return the two paths.

    Args:
        timeline: Reads the ticks.
        brokers: The names of all brokers.
        now: Returns the present moment.
    """
    router = APIRouter(prefix="/v1/greeks", tags=["greeks"])
    _add_history(router, timeline, brokers, now)
    _add_sparklines(router, timeline, brokers, now)
    return router


def _add_history(
    router: APIRouter,
    timeline: Timeline,
    brokers: Sequence[str],
    now: Callable[[], datetime],
) -> None:
    filters = {each.name: each.field(brokers) for each in _SERIES}
    model = create_model("GreekHistoryQuery", __base__=HistoryParams, **filters)  # type: ignore[call-overload]

    def filters_of(params: HistoryParams) -> dict[str, Any]:
        return {name: getattr(params, name) for name in filters}

    async def history(params: HistoryParams) -> Response:
        """Return one contract over time, one series for each account that had it.

        `kind` of a series is `ticks`: every tick, because there are at most `points`.
        `intervals`: of each interval the last tick, and the least and greatest values of all
        its ticks.  `samples`: of each interval the last tick only, because there are too
        many ticks to read all of them.  An interval without a tick has null; no value comes
        from an earlier interval.  Impossible values are null, as in `/v1/greeks/latest`.
        """
        start, end = last_hour(params.start, params.end, now())
        wanted = HistoryFilter(
            start=start,
            end=end,
            points=params.points,
            measures=params.chosen,
            **filters_of(params),
        )
        with store_problems():
            series = await _series(timeline, wanted)
        head = {
            "contract_key": wanted.contract_key,
            "start": start,
            "end": end,
            "points": wanted.points,
        }
        return json_answer(
            head | msgspec.json.decode(series, type=dict[str, msgspec.Raw])
        )

    # FastAPI reads the type of the parameters from here.
    history.__annotations__["params"] = Annotated[model, Query()]
    router.add_api_route(
        "/history",
        history,
        methods=["GET"],
        name="greek_history",
        responses=described(HISTORY, *STORE_PROBLEMS),
    )


async def _series(timeline: Timeline, wanted: HistoryFilter) -> bytes:
    """Return the series.

    Raises:
        Problem: They would have too many points.
    """
    try:
        return await timeline.greek_history(wanted)
    except TooManyPoints as exc:
        raise invalid(
            f"{exc.series:,} accounts had the contract. With {wanted.points:,} points each"
            f" that is more than {MAX_LOOKS:,}. Ask for fewer `points`, or for one"
            " `account_id`."
        ) from exc


def _add_sparklines(
    router: APIRouter,
    timeline: Timeline,
    brokers: Sequence[str],
    now: Callable[[], datetime],
) -> None:
    model = sparklines_params(brokers)

    async def sparklines(params) -> Response:  # type: ignore[no-untyped-def]  # noqa: ANN001
        """Return one value of up to 100 series for each interval until now.

        Each value is that of the last tick of its interval, null without one.  The last
        interval is the present one, which has not ended.
        """
        end = now()
        length_s = max(1, round(params.minutes * 60 / params.points))
        grid = TimeGrid.until(end, length_s, params.points)
        wanted = SparklinesFilter(
            series=params.series, measure=params.measure, grid=grid, end=end
        )
        with store_problems():
            series = await timeline.sparklines(wanted)
        return json_answer(
            {
                "measure": params.measure,
                "start": grid.first,
                "interval_s": grid.length_s,
                "points": grid.count,
                "series": msgspec.Raw(series),
            }
        )

    # FastAPI reads the type of the parameters from here.
    sparklines.__annotations__["params"] = Annotated[model, Query()]
    router.add_api_route(
        "/sparklines",
        sparklines,
        methods=["GET"],
        name="greek_sparklines",
        responses=described(SPARKLINES, *STORE_PROBLEMS),
    )
