"""``GET /v1/risk/history``: the sums of one underlying over time, for charts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, create_model

from greeks_trio.api.answers import described, json_answer
from greeks_trio.api.lists.parameters import (
    ACCOUNT_ID,
    BROKER,
    UNDERLYING,
    Moment,
    Parameter,
    WholeNumber,
    required,
    text,
)
from greeks_trio.api.routes.past_interval import last_hour
from greeks_trio.api.routes.risk_history_schema import RISK_HISTORY
from greeks_trio.api.routes.scenario_params import invalid
from greeks_trio.api.store_problems import STORE_PROBLEMS, store_problems
from greeks_trio.postgres.reads.risk_history import (
    MAX_LOOKS,
    RiskHistoryFilter,
    TooManyLooks,
    moments_between,
)
from greeks_trio.postgres.reads.timeline import Timeline

_FILTERS: Final[Sequence[Parameter]] = (
    *(required(UNDERLYING), BROKER, ACCOUNT_ID),
    text("strategy_tag", "As in `/v1/risk/positions`.", example="iron condor"),
)


class RiskHistoryParams(BaseModel):
    """The parameters beside the filters of the positions."""

    model_config = ConfigDict(extra="forbid")

    start: Annotated[
        Moment | None,
        Field(
            description="The first moment (RFC 3339); default: one hour before `end`.",
            examples=["2026-11-20T14:30:00Z"],
        ),
    ] = None
    end: Annotated[
        Moment | None,
        Field(
            description="The last moment; default: now.",
            examples=["2026-11-20T21:00:00Z"],
        ),
    ] = None
    points: Annotated[
        WholeNumber, Field(ge=2, le=300, description="The most moments.")
    ] = 120


def make_router(
    timeline: Timeline, brokers: Sequence[str], now: Callable[[], datetime]
) -> APIRouter:
    """Return ``GET /v1/risk/history``.

    Args:
        timeline: Reads the positions and ticks.
        brokers: The names of all brokers, which a filter can name.
        now: Returns the present moment.
    """
    router = APIRouter(prefix="/v1", tags=["risk"])
    filters = {each.name: each.field(brokers) for each in _FILTERS}
    model = create_model("RiskHistoryQuery", __base__=RiskHistoryParams, **filters)  # type: ignore[call-overload]

    def filters_of(params: RiskHistoryParams) -> dict[str, Any]:
        return {name: getattr(params, name) for name in filters}

    async def history(params: RiskHistoryParams) -> Response:
        """Return the sums of one underlying at several moments, one currency each.

        Each moment has the sums of `/v1/risk/totals?at=...`: the positions that were held
        then, with the newest ticks that were known then.  Beside each sum is the count of
        the positions that it lacks, and of those whose values were stale then.  Before the
        first reading of an account its positions are not known: `accounts` has it.  Before
        that of all accounts every number is null.
        """
        start, end = last_hour(params.start, params.end, now())
        wanted = RiskHistoryFilter(
            moments=moments_between(start, end, params.points),
            stale_after_s=timeline.stale_after_s,
            max_looks=MAX_LOOKS,
            **filters_of(params),
        )
        with store_problems():
            sums = await _sums(timeline, wanted)
        head = {
            "underlying": wanted.underlying,
            "start": start,
            "end": end,
            "stale_after_s": wanted.stale_after_s,
            "time": [moment.timestamp() for moment in wanted.moments],
        }
        return json_answer(
            head | msgspec.json.decode(sums, type=dict[str, msgspec.Raw])
        )

    # FastAPI reads the type of the parameters from here.
    history.__annotations__["params"] = Annotated[model, Query()]
    router.add_api_route(
        "/risk/history",
        history,
        methods=["GET"],
        name="risk_history",
        responses=described(RISK_HISTORY, *STORE_PROBLEMS),
    )
    return router


async def _sums(timeline: Timeline, wanted: RiskHistoryFilter) -> bytes:
    """Return the sums.

    Raises:
        Problem: There are too many contracts for so many moments.
    """
    try:
        return await timeline.risk_history(wanted)
    except TooManyLooks as exc:
        moments = len(wanted.moments)
        most = moments * MAX_LOOKS // exc.looks
        raise invalid(
            f"{exc.contracts:,} contracts at {moments} moments are {exc.looks:,} values, and"
            f" at most {MAX_LOOKS:,} are allowed. Ask for about {most} `points`, or for a"
            " shorter time."
        ) from exc
