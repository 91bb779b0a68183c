"""The HTTP interface: one application of many routers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.routing import Match

from greeks_trio.api.answers import answer_problems
from greeks_trio.api.description import describe
from greeks_trio.api.fixed_content import FixedContent, answer_content, make_content
from greeks_trio.api.media_types import JSON
from greeks_trio.version import program_version

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def make_api(routers: Iterable[APIRouter], *, needs_token: bool = False) -> FastAPI:
    """Return the application, with its description at ``/openapi.json``."""
    api = FastAPI(
        title="greeks_trio",
        version=program_version(),
        # FastAPI's documentation pages load scripts from other sites, and its description
        # is not compressed.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # The redirect would contain the Host header of the request.
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
    )
    answer_problems(api, methods_of)
    for router in routers:
        api.include_router(router)

    _add_description(api, needs_token=needs_token)
    return api


def _add_description(api: FastAPI, *, needs_token: bool) -> None:
    made: list[FixedContent] = []

    @api.get("/openapi.json", include_in_schema=False)
    async def description(request: Request) -> Response:  # noqa: ASYNC124
        """Return the OpenAPI description of this interface."""
        if not made:
            described = describe(api, needs_token=needs_token)
            made.append(make_content(msgspec.json.encode(described), JSON))
        return answer_content(made[0], request)


def methods_of(api: FastAPI, path: str) -> list[str]:
    """Return the methods of a path; none if there is no such path."""
    methods = []
    for method in _METHODS:
        scope = {"type": "http", "method": method, "path": path, "root_path": ""}
        if any(route.matches(scope)[0] is Match.FULL for route in api.routes):
            methods.append(method)
    if "GET" in methods and "HEAD" not in methods:
        methods.insert(1, "HEAD")  # the guard turns HEAD into GET
    return methods


def _operation_id(route: APIRoute) -> str:
    return route.name
