"""The routes of the simulated gateway's REST interface, and its answers in JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

import msgspec

from greeks_trio.simulators.server.http import Request, Response

# Answers one kind of request, given the parts that its path names; anything but a
# response is sent as JSON.
Handler: TypeAlias = Callable[[Request, dict[str, str]], object]
# By methods and path: ``GET|POST /portfolio/{account}/positions/{page:int}``.
Routes: TypeAlias = dict[str, Handler]
CompiledRoutes: TypeAlias = list[tuple[tuple[str, ...], re.Pattern[str], Handler]]


def compile_routes(routes: Mapping[str, Handler]) -> CompiledRoutes:
    """Return the methods, the pattern of the path, and the handler of each route."""
    compiled: CompiledRoutes = []
    for route, handler in routes.items():
        methods, _, template = route.partition(" ")
        pattern = re.sub(r"\{(\w+):int\}", r"(?P<\1>[0-9]{1,9})", template)
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern)
        compiled.append((tuple(methods.split("|")), re.compile(pattern), handler))
    return compiled


def always(content: object) -> Handler:
    """Return a handler whose answer never changes."""
    return lambda _request, _found: content


def json_response(content: object, status: int = 200) -> Response:
    """Return an answer in JSON, with the gateway's content type."""
    return Response(
        status=status,
        body=msgspec.json.encode(content),
        content_type="application/json; charset=utf-8",
    )
