"""Answers: JSON of our records, and problems as in RFC 9457.

A problem is ``application/problem+json`` with ``type``, ``title``, ``status`` and
``detail``.  If the request is not valid, ``errors`` has the place and the reason of each
mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from greeks_trio.api.media_types import JSON, PROBLEM_JSON

# With 400: the syntax is wrong.  JSON that is not a valid request gets 422 (RFC 9110).
NOT_JSON: Final = "The body is not JSON."

# Answers are for programs: a browser may not guess their type, frame them, run scripts in
# them, or keep them.  If an answer sets one of these headers itself, its own value stays.
SAFE_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)


class Problem(Exception):
    """The answer to a request that cannot be answered otherwise.

    Args:
        status: Its phrase is the title.
        detail: The reason and the way out, in plain words, without secrets.
        headers: Such as ``Retry-After``.
    """

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers


def json_answer(body: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """Return an answer from builtins, records, dates or decimals; NaN becomes null."""
    # Not FastAPI's encoder: msgspec knows our records and is ten times as fast.
    return Response(msgspec.json.encode(body), status, media_type=JSON)


def problem_answer(
    status: HTTPStatus,
    detail: str = "",
    *,
    errors: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a problem."""
    body = problem_body(status, detail)
    if errors:
        body["errors"] = list(errors)
    content = msgspec.json.encode(body)
    return Response(content, status, dict(headers or {}), media_type=PROBLEM_JSON)


def problem_body(status: HTTPStatus, detail: str = "") -> dict[str, Any]:
    """Return the members that every problem has."""
    return {
        "type": "about:blank",
        "title": status.phrase,
        "status": int(status),
        "detail": detail or status.description or status.phrase,
    }


def answer_problems(
    api: FastAPI, methods_of: Callable[[FastAPI, str], Sequence[str]]
) -> None:
    """Make every refusal of the application a problem, also those of FastAPI.

    Args:
        api: The application.
        methods_of: Returns the methods of one of its paths.
    """

    async def answer_http_exception(  # noqa: ASYNC124
        request: Request, exc: Exception
    ) -> Response:
        assert isinstance(exc, HTTPException)  # noqa: S101  # registered for these
        status = HTTPStatus(exc.status_code)
        headers = dict(exc.headers or {})
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            # Starlette would name only the methods of the first router that has the path.
            headers["Allow"] = ", ".join(methods_of(api, request.url.path))
        detail = "" if exc.detail == status.phrase else str(exc.detail)
        if status is HTTPStatus.BAD_REQUEST:
            # From FastAPI, for a body that is not text.
            detail = NOT_JSON
        return problem_answer(status, detail, headers=headers)

    api.add_exception_handler(Problem, _answer_problem)
    api.add_exception_handler(HTTPException, answer_http_exception)
    api.add_exception_handler(RequestValidationError, _answer_invalid)
    # Starlette raises the exception again afterwards, and the server logs it.
    api.add_exception_handler(Exception, _answer_bug)


async def _answer_problem(_: Request, exc: Exception) -> Response:  # noqa: ASYNC124
    assert isinstance(exc, Problem)  # noqa: S101  # registered for these
    return problem_answer(exc.status, exc.detail, headers=exc.headers)


async def _answer_invalid(_: Request, exc: Exception) -> Response:  # noqa: ASYNC124
    assert isinstance(exc, RequestValidationError)  # noqa: S101  # registered for these
    if any(each["type"] == "json_invalid" for each in exc.errors()):
        return problem_answer(HTTPStatus.BAD_REQUEST, NOT_JSON)
    # Without the values: the answer must not repeat a token that is in the wrong place.
    errors = [
        {
            "where": ".".join(map(str, each["loc"])),
            # pydantic puts this in front of the messages of our own checks.
            "reason": str(each["msg"]).removeprefix("Value error, "),
        }
        for each in exc.errors()
    ]
    return problem_answer(
        HTTPStatus.UNPROCESSABLE_ENTITY, "The request is not valid.", errors=errors
    )


async def _answer_bug(_: Request, __: Exception) -> Response:  # noqa: ASYNC124
    return problem_answer(HTTPStatus.INTERNAL_SERVER_ERROR)


_PROPERTIES: Final = {
    "type": {"type": "string", "examples": ["about:blank"]},
    "title": {"type": "string", "examples": ["Not Found"]},
    "status": {"type": "integer", "examples": [404]},
    "detail": {"type": "string"},
    "errors": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"where": {"type": "string"}, "reason": {"type": "string"}},
            "required": ["where", "reason"],
        },
    },
}
PROBLEM_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Problem",
    "description": "The reason of a refusal (RFC 9457).",
    "properties": _PROPERTIES,
    "required": ["type", "title", "status", "detail"],
    "examples": [problem_body(HTTPStatus.NOT_FOUND)],
}
# `make_api` puts the schema where this points.
PROBLEM_REFERENCE: Final = {"$ref": "#/components/schemas/Problem"}


def described(
    schema: Mapping[str, Any], *problems: HTTPStatus
) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of an answer and of the problems instead of it.

    Args:
        schema: JSON schema of the answer, with ``examples``.
        problems: The statuses of the possible refusals.
    """
    return {
        int(HTTPStatus.OK): {
            "description": HTTPStatus.OK.phrase,
            "content": {JSON: {"schema": schema}},
        }
    } | described_problems(*problems)


def described_problems(*problems: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of refusals."""
    return {
        int(status): {
            "description": status.phrase,
            "content": {PROBLEM_JSON: {"schema": PROBLEM_REFERENCE}},
        }
        for status in problems
    }
