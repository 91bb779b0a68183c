"""The page of all HTTP routes, from the OpenAPI description of a service."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx2
import trio

from docs.tools.markdown import code, page, table
from greeks_trio.api.server import run_http
from greeks_trio.assembly import build_service, make_routers
from greeks_trio.brokers.registry import FEEDS
from greeks_trio.config.settings import Config, HttpConfig
from greeks_trio.pipeline.tick_counts import NO_LISTENERS
from greeks_trio.spool.directory import open_spool
from greeks_trio.waiting import utc_now

_ABOUT: Final = """\
[HTTP](http.md) explains paging, exports, events, access and limits. `/openapi.json` of a running
service describes every parameter and every answer of these routes, with examples.
"""


def http_page() -> str:
    """Return ``docs/http-routes.md``."""
    return page("HTTP routes", "the routes in greeks_trio/api", *_parts(_description()))


def _description() -> dict[str, Any]:
    return trio.run(_ask)


async def _ask() -> dict[str, Any]:
    """Start the HTTP interface of a service that has no broker, and ask it."""
    config = Config(http=HttpConfig(port=0))
    with tempfile.TemporaryDirectory() as directory:
        async with (
            open_spool(Path(directory), max_bytes=1024**2) as disk,
            trio.open_nursery() as nursery,
        ):
            service = build_service(
                config,
                lambda: config,
                FEEDS,
                trio.Event(),
                disk,
                listeners=NO_LISTENERS,
                now=utc_now,
            )
            start = partial(run_http, HttpConfig(port=0), make_routers(service))
            url = await nursery.start(start)
            async with httpx2.AsyncClient() as client:
                answer = await client.get(f"{url}/openapi.json")
            nursery.cancel_scope.cancel()
    description: dict[str, Any] = answer.json()
    return description


def _parts(description: dict[str, Any]) -> Iterator[str]:
    yield _ABOUT
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            yield f"## {method.upper()} {path}"
            yield inspect.cleandoc(operation["description"])
            parameters = operation.get("parameters", [])
            if parameters:
                yield table(
                    ("parameter", "values", "meaning"), map(_parameter, parameters)
                )


def _parameter(parameter: dict[str, Any]) -> tuple[str, str, str]:
    schema = parameter["schema"]
    choices = schema.get("anyOf", [schema])
    kinds = [_values(each) for each in choices if each.get("type") != "null"]
    needed = " (needed)" if parameter.get("required") else ""
    meaning = parameter.get("description", "")
    return f"{code(parameter['name'])}{needed}", ", ".join(kinds), meaning


def _values(schema: dict[str, Any]) -> str:
    if "const" in schema:
        return code(schema["const"])
    if "enum" in schema:
        return ", ".join(map(code, schema["enum"]))
    bounds = [schema[name] for name in ("minimum", "maximum") if name in schema]
    kind = {"string": "text", "boolean": "`true`, `false`"}.get(
        schema["type"], schema["type"]
    )
    kind = schema.get("format", kind)
    return f"{kind}, {bounds[0]} to {bounds[1]}" if len(bounds) == 2 else kind
