"""The OpenAPI description: the routers' own descriptions, and the common parts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from greeks_trio.api.access.browser_sessions import SESSION_COOKIE, SESSION_PATH
from greeks_trio.api.answers import PROBLEM_SCHEMA, described_problems

_ABOUT: Final = """\
The Greeks of your option positions, live.

Every refusal is a problem as in RFC 9457 (`application/problem+json`).  Times are UTC and
have a zone.  A missing value is null.  HEAD gets the answer of GET without the body.  No
answer has CORS headers, so pages of other sites cannot read any.
"""
_TAGS: Final = {
    "status": "Liveness, readiness, status",
    "fleet": "The services of a fleet",
    "streaming": "Starting and stopping the brokers' feeds by hand",
    "stream": "Changes as they happen",
    "greeks": "Ticks, newest Greeks, sums, positions, account values and gaps",
    "risk": "Positions with their parts of the sums, totals, strategies, scenarios, explained "
    "profits and losses",
    "trades": "Recording and reading trades",
    "alerts": "Limits: rules with their states, and messages with their deliveries",
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
        "name": SESSION_COOKIE,
        "description": f"The cookie that POST {SESSION_PATH} sets",
    },
}
# These paths need no token.
_OPEN: Final = ("/livez", "/healthz", SESSION_PATH)

# The guard and the server may answer any request with these.
_ANYWHERE: Final = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.REQUEST_URI_TOO_LONG,
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    HTTPStatus.MISDIRECTED_REQUEST,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
_SENTENCE_END: Final = re.compile(r"\.(?:\s|$)")
_BOUNDS: Final = {"ge": "minimum", "le": "maximum"}
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
        servers=[{"url": "/", "description": "The service that gave this description"}],
    )
    components = description.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas["Problem"] = PROBLEM_SCHEMA
    # FastAPI's own schemas: the service answers with a problem instead.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    components["responses"] = {}
    for path, method, operation in _operations(description):
        operation["summary"] = _first_sentence(operation["description"])
        for parameter in operation.get("parameters", ()):
            parameter["schema"] = _plain(parameter["schema"])
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


def _first_sentence(text: str) -> str:
    """Return the first sentence, without its full stop and the marks of Markdown."""
    sentence = _SENTENCE_END.split(" ".join(text.split()), maxsplit=1)[0]
    return sentence.replace("`", "")


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter as its values are in an address.

    FastAPI adds null for a parameter that may be missing, and writes bounds of a type with
    a check of its own under the names that Python has for them.
    """
    present = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    if len(present) == 1:
        outer = {name: value for name, value in schema.items() if name != "anyOf"}
        schema = {**present[0], **outer}
    return {_BOUNDS.get(name, name): value for name, value in schema.items()}


def _add_problems(
    operation: dict[str, Any], statuses: list[HTTPStatus], shared: dict[str, Any]
) -> None:
    """Add the refusals that the operation does not describe itself."""
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
    """Yield each tag of an operation, with its description."""
    used = dict.fromkeys(
        tag
        for _, __, operation in _operations(description)
        for tag in operation.get("tags", ())
    )
    for tag in used:
        yield {"name": tag, "description": _TAGS.get(tag, tag)}
