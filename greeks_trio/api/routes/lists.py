"""One GET for each list."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from greeks_trio.api.lists.answer import answer_list
from greeks_trio.api.lists.description import described_list
from greeks_trio.api.lists.parameters import ListParams, params_model
from greeks_trio.api.lists.resource import ListResource
from greeks_trio.api.lists.resources import RESOURCES
from greeks_trio.postgres.reads.timeline import Timeline


def make_router(
    timeline: Timeline,
    brokers: Sequence[str],
    resources: Iterable[ListResource] = RESOURCES,
) -> APIRouter:
    """Return the lists.

    Args:
        timeline: Answers them.
        brokers: The names of all brokers, which a filter can name.
        resources: The declarations of the lists.
    """
    router = APIRouter()
    for resource in resources:
        _add_list(router, timeline, brokers, resource)
    return router


def _add_list(
    router: APIRouter,
    timeline: Timeline,
    brokers: Sequence[str],
    resource: ListResource,
) -> None:
    async def answer(request: Request, params: ListParams) -> Response:
        return await answer_list(timeline, request, resource, params)

    extras = {name: column.name for name, column in resource.extras.items()}
    model = params_model(resource.parameters, extras, brokers)
    # FastAPI reads the type of the parameters from here.
    answer.__annotations__["params"] = Annotated[model, Query()]
    router.add_api_route(
        resource.path,
        answer,
        methods=["GET"],
        name=resource.name,
        tags=[resource.tag],
        description=resource.about,
        responses=described_list(resource, brokers),
    )
