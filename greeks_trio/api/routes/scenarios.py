"""``GET /v1/risk/scenarios``: profit and loss when prices, volatilities and time move.

The worker computes the answer: 200 contracts in 77 cells take a tenth of a second, in which
the event loop would not run.  The positions go from PostgreSQL to the worker as text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Query, Response
from pydantic import create_model

from greeks_trio.api.answers import Problem, described
from greeks_trio.api.lists.parameters import ACCOUNT_ID, BROKER, UNDERLYING, Parameter
from greeks_trio.api.lists.position_filters import CHOICES
from greeks_trio.api.media_types import JSON
from greeks_trio.api.routes.scenario_params import ScenarioParams, invalid, request_of
from greeks_trio.api.routes.scenario_schema import SCENARIOS
from greeks_trio.api.store_problems import STORE_PROBLEMS, store_problems
from greeks_trio.errors import JobRefused, JobTooLong, WorkerBusy, WorkerError
from greeks_trio.postgres.reads.holdings import HoldingsFilter
from greeks_trio.postgres.reads.timeline import Timeline
from greeks_trio.risk.scenario_records import Beta
from greeks_trio.worker.process import Worker

# The filters of the positions.
_FILTERS: Final[Sequence[Parameter]] = (BROKER, ACCOUNT_ID, UNDERLYING, *CHOICES)


def make_router(
    timeline: Timeline,
    worker: Worker,
    brokers: Sequence[str],
    rate: Callable[[], float],
) -> APIRouter:
    """Return ``GET /v1/risk/scenarios``.

    Args:
        timeline: Reads the positions.
        worker: Computes the scenarios.
        brokers: The names of all brokers, which a filter can name.
        rate: Returns the rate of interest for a request without one.
    """
    router = APIRouter(prefix="/v1", tags=["risk"])
    filters = {each.name: each.field(brokers) for each in _FILTERS}
    model = create_model("ScenarioQuery", __base__=ScenarioParams, **filters)  # type: ignore[call-overload]

    async def scenarios(params: ScenarioParams) -> Response:
        """Price the positions again after moves of prices, volatilities and time.

        All numbers are values of a model.  Positions that it cannot price are in no sum;
        `left_out` counts and names them with the reasons.  The cell without any change has
        a profit of 0: the difference between `model_value` and `market_value` is the same
        in every cell.
        """
        request = request_of(params, rate())
        wanted = HoldingsFilter(
            stale_after_s=timeline.stale_after_s,
            conditions=[
                each.condition(value)
                for each in _FILTERS
                if each.condition is not None
                and (value := getattr(params, each.name)) is not None
            ],
        )
        with store_problems():
            positions = await timeline.holdings(wanted)
            if request.benchmark is not None:
                found = await timeline.betas(request.benchmark)
                known = {name: Beta(*each) for name, each in found.items()}
                request = msgspec.structs.replace(request, known_betas=known)
        with worker_problems():
            answer = await worker.call(
                "scenarios", msgspec.json.encode(request), positions
            )
        return Response(answer, media_type=JSON)

    # FastAPI reads the type of the parameters from here.
    scenarios.__annotations__["params"] = Annotated[model, Query()]
    router.add_api_route(
        "/risk/scenarios",
        scenarios,
        methods=["GET"],
        name="scenarios",
        responses=described(SCENARIOS, *STORE_PROBLEMS),
    )
    return router


@contextmanager
def worker_problems() -> Iterator[None]:
    """Turn errors of the worker into problems.

    Raises:
        Problem: instead of any `WorkerError`.
    """
    try:
        yield
    except JobRefused as exc:
        raise invalid(str(exc)) from exc
    except JobTooLong as exc:
        raise Problem(
            HTTPStatus.GATEWAY_TIMEOUT,
            "The computation took too long, so it was stopped. Ask for fewer cells, or for"
            " one underlying or account.",
        ) from exc
    except WorkerError as exc:
        is_busy = isinstance(exc, WorkerBusy)
        raise Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "The worker has enough requests. Try again in a second."
            if is_busy
            else "The worker ended without an answer. The log of the service has the"
            " reason. Try again.",
            headers={"Retry-After": "1"},
        ) from exc
