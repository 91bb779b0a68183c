"""``GET /v1/risk/explain``: the profit or loss between two moments, and its parts.

PostgreSQL writes the paths of the positions as text, and the worker reads them: the event
loop of the service never holds a tick of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, create_model

from greeks_trio.api.answers import described
from greeks_trio.api.lists.parameters import (
    ACCOUNT_ID,
    BROKER,
    UNDERLYING,
    Moment,
    Parameter,
)
from greeks_trio.api.lists.position_filters import CHOICES, WITHOUT
from greeks_trio.api.media_types import JSON
from greeks_trio.api.routes.explain_schema import EXPLANATION
from greeks_trio.api.routes.past_interval import past_interval
from greeks_trio.api.routes.scenario_params import invalid
from greeks_trio.api.routes.scenarios import worker_problems
from greeks_trio.api.store_problems import STORE_PROBLEMS, store_problems
from greeks_trio.postgres.reads.paths import PathsFilter, TooManyContracts
from greeks_trio.postgres.reads.timeline import Timeline
from greeks_trio.risk.explain_records import ExplainRequest, GroupBy
from greeks_trio.worker.process import Worker

_FILTERS: Final[Sequence[Parameter]] = (
    *(BROKER, ACCOUNT_ID, UNDERLYING),
    *CHOICES,
)
# The others choose after the prices are known: the shares of a strategy, for example, can
# have the price of an option outside it.
_OF_PATHS: Final = ("broker", "account_id", "underlying")
_MAX_DAYS: Final = 31


class ExplainParams(BaseModel):
    """The parameters beside the filters of the positions."""

    model_config = ConfigDict(extra="forbid")

    start: Annotated[
        Moment,
        Field(
            description="The first moment (RFC 3339).",
            examples=["2026-11-20T14:30:00Z"],
        ),
    ]
    end: Annotated[
        Moment | None,
        Field(
            description=f"The last moment; default: now. At most {_MAX_DAYS} days after "
            "`start`.",
            examples=["2026-11-20T21:00:00Z"],
        ),
    ] = None
    group_by: Annotated[
        GroupBy,
        Field(
            description="Positions with the same value get a row of their own, in `groups`. "
            "`totals` has one for each currency always; `book` and `currency` add nothing."
        ),
    ] = "currency"


def make_router(
    timeline: Timeline,
    worker: Worker,
    brokers: Sequence[str],
    rate: Callable[[], float],
    now: Callable[[], datetime],
) -> APIRouter:
    """Return ``GET /v1/risk/explain``.

    Args:
        timeline: Reads the paths of the positions.
        worker: Computes the parts.
        brokers: The names of all brokers, which a filter can name.
        rate: Returns the rate of interest.
        now: Returns the present moment.
    """
    router = APIRouter(prefix="/v1", tags=["risk"])
    filters = {each.name: each.field(brokers) for each in _FILTERS}
    model = create_model("ExplainQuery", __base__=ExplainParams, **filters)  # type: ignore[call-overload]

    async def explain(params: ExplainParams) -> Response:
        """Explain the profit or loss between two moments by Greeks, trades and a residual.

        Each position is followed from stored tick to stored tick, in steps of `step_s`.
        The broker's Greeks at the start of each step explain its change of price; a model
        gives vanna, vomma and charm.  start_value + all parts + trading + residual + trades
        is end_value.  Positions without a price are in no sum; `left_out` names them.
        """
        start, end = past_interval(
            params.start, params.end, now=now(), most_days=_MAX_DAYS
        )
        filters = {each.name: getattr(params, each.name) for each in _FILTERS}
        without = filters.pop("without")
        request = ExplainRequest(
            start=start,
            end=end,
            rate=rate(),
            group_by=params.group_by,
            underlying=filters["underlying"],
            without=() if without is None else tuple(without.split(",")),
            **{each.name: filters[each.name] for each in CHOICES if each != WITHOUT},
        )
        of_paths = {name: filters[name] for name in _OF_PATHS}
        with store_problems():
            paths = await _paths(
                timeline, PathsFilter(start=start, end=end, **of_paths)
            )
        with worker_problems():
            answer = await worker.call("explain", msgspec.json.encode(request), paths)
        return Response(answer, media_type=JSON)

    # FastAPI reads the type of the parameters from here.
    explain.__annotations__["params"] = Annotated[model, Query()]
    router.add_api_route(
        "/risk/explain",
        explain,
        methods=["GET"],
        name="explain",
        responses=described(EXPLANATION, *STORE_PROBLEMS),
    )
    return router


async def _paths(timeline: Timeline, wanted: PathsFilter) -> bytes:
    """Return the paths.

    Raises:
        Problem: There are too many positions.
    """
    try:
        return await timeline.paths(wanted)
    except TooManyContracts as exc:
        raise invalid(
            f"{exc.contracts:,} positions were open between `start` and `end`, which is too"
            " many. Ask for one `account_id` or one `underlying`."
        ) from exc
