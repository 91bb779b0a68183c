"""The OpenAPI description: what the routers say of themselves, and what holds for all."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from greeks_trio.api.access import browser_sessions as session
from greeks_trio.api.answers import PROBLEM_SCHEMA, described_problems

_ABOUT: Final = """\
The Greeks of your option positions, live.

Every refusal is a problem as in RFC 9457 (`application/problem+json`).  Times are UTC and
have a zone.  A missing value is null.  HEAD is answered like GET, without the body.  No
answer has CORS headers: pages of other sites cannot read any.
"""
_TAGS: Final = {
    "status": "Is it alive, is it ready, how is it doing",
    "streaming": "Starting and stopping the brokers' feeds by hand",
    "stream": "What changes, as it changes",
    "greeks": "Ticks: all, the latest, those of a moment",
    "portfolio": "Positions and their sums",
    "trades": "Noting trades, and reading them",
    "session": "A cookie instead of the token, for pages",
}
_SCHEMES: Final = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "GREEKS_API_TOKEN of the service",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": session.COOKIE,
        "description": f"What POST {session.PATH} has set",
    },
}
# Nobody needs a token for these.
_OPEN: Final = ("/livez", session.PATH)

# What the guard and the server may answer in place of any operation.
_ANYWHERE: Final = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.REQUEST_URI_TOO_LONG,
    HTTPStatus.MISDIRECTED_REQUEST,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
_AT_WRITES: Final = (HTTPStatus.UNSUPPORTED_MEDIA_TYPE,)
_WITH_TOKEN: Final = (HTTPStatus.UNAUTHORIZED,)


def describe(api: FastAPI, *, needs_token: bool) -> dict[str, Any]:
    """Return the description of all routers of the application."""
    description = get_openapi(
        title=api.title,
        version=api.version,
        summary="Option Greeks from several brokers in one timeline",
        description=_ABOUT,
        routes=api.routes,
        servers=[{"url": "/", "description": "Where this description comes from"}],
    )
    components = description.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas["Problem"] = PROBLEM_SCHEMA
    # FastAPI's own, in whose place we answer with a problem.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    components["responses"] = {}
    for path, method, operation in _operations(description):
        statuses = [*_ANYWHERE]
        statuses += _AT_WRITES if method in {"post", "put", "patch", "delete"} else ()
        statuses += _WITH_TOKEN if needs_token and path not in _OPEN else ()
        if needs_token and path in _OPEN:
            operation["security"] = []
        _add_problems(operation, statuses, components["responses"])
    if needs_token:
        components["securitySchemes"] = _SCHEMES
        description["security"] = [{name: []} for name in _SCHEMES]
    description["tags"] = list(_tags(description))
    return description


def _add_problems(
    operation: dict[str, Any], statuses: list[HTTPStatus], shared: dict[str, Any]
) -> None:
    """Describe the refusals that the operation has not described itself."""
    answers = operation["responses"]
    if "HTTPValidationError" in str(answers.get("422")):
        del answers["422"]
        statuses = [*statuses, HTTPStatus.UNPROCESSABLE_ENTITY]
    for status in statuses:
        if str(int(status)) not in answers:
            name = status.name.title().replace("_", "")
            [shared[name]] = described_problems(status).values()
            answers[str(int(status))] = {"$ref": f"#/components/responses/{name}"}
    operation["responses"] = dict(sorted(answers.items()))


def _operations(
    description: dict[str, Any],
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _tags(description: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Yield each tag that an operation has, explained where it needs it."""
    used = dict.fromkeys(
        tag
        for _, __, operation in _operations(description)
        for tag in operation.get("tags", ())
    )
    for tag in used:
        yield {"name": tag, "description": _TAGS.get(tag, tag)}
