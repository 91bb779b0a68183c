"""The state of the service: ``/livez``, ``/readyz`` and ``/v1/streaming/status``."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Response

from greeks_trio.api.answers import described, json_answer
from greeks_trio.api.media_types import JSON
from greeks_trio.api.routes.feeds import session_schema
from greeks_trio.model.records import StreamSession
from greeks_trio.waiting import run_in_slices


@dataclass(frozen=True, slots=True)
class StatusSource:
    """The state of the service, as functions that do not wait and tell no secret.

    Attributes:
        sessions: Returns the state of each enabled broker's feed.
        readiness: Returns a sentence for each reason why the service is not ready.
        warnings: Returns a sentence for each fault that leaves the service ready.
        notes: Returns a sentence for each fact that is no fault.
        figures: Returns the figures of the status, in types that JSON has; yields after
            each small step.
    """

    sessions: Callable[[], Sequence[StreamSession]]
    readiness: Callable[[], Sequence[str]]
    warnings: Callable[[], Sequence[str]]
    notes: Callable[[], Sequence[str]]
    figures: Callable[[], Generator[None, None, Mapping[str, Any]]]


def make_router(
    source: StatusSource,
    brokers: Sequence[str],
    schema: Mapping[str, Any],
    example: Mapping[str, Any],
) -> APIRouter:
    """Return ``/livez``, ``/readyz`` and ``/v1/streaming/status``.

    The handlers are ``async`` although some do not wait, because FastAPI would run any
    other in a thread.

    Args:
        source: The state of the service.
        brokers: The names of all brokers, for OpenAPI.
        schema: The schema of each key of the figures, for OpenAPI.
        example: The figures of a service, for OpenAPI.
    """
    sessions = {"type": "array", "items": session_schema(brokers)}
    answer = _object(
        {"readiness": _READY, "sessions": [_SESSION], **example},
        readiness=_READINESS,
        sessions=sessions,
        **schema,
    )
    router = APIRouter(tags=["status"])

    @router.get("/livez", responses=described(_ALIVE))
    async def livez() -> Response:  # noqa: ASYNC124
        """Answer as long as the process does."""
        return json_answer({"status": "alive"})

    @router.get("/readyz", responses=described(_READINESS) | _NOT_READY)
    async def readyz() -> Response:  # noqa: ASYNC124
        """Answer 200 when database and feeds are up, else 503 with the reasons."""
        body = _readiness(source)
        if body["problems"]:
            return json_answer(body, HTTPStatus.SERVICE_UNAVAILABLE)
        return json_answer(body)

    @router.get("/v1/streaming/status", responses=described(answer))
    async def status() -> Response:
        """Return what `/readyz` does, the session of each broker, and all figures."""
        # Some figures look at every contract, which must not hold up the ticks.
        figures = await run_in_slices(source.figures())
        sessions = list(source.sessions())
        readiness = _readiness(source)
        return json_answer({"readiness": readiness, "sessions": sessions, **figures})

    return router


def _readiness(source: StatusSource) -> dict[str, Any]:
    problems = list(source.readiness())
    return {
        "status": "not ready" if problems else "ready",
        "problems": problems,
        "warnings": list(source.warnings()),
        "notes": list(source.notes()),
    }


def _object(example: dict[str, Any], **properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "examples": [example],
    }


_READY: Final = {
    "status": "ready",
    "problems": [],
    "warnings": ["tastytrade: 1 contract without Greeks so far"],
    "notes": ["ibkr: stopped by request"],
}
_READINESS: Final = _object(
    _READY,
    status={"enum": ["ready", "not ready"]},
    problems={
        "type": "array",
        "items": {"type": "string"},
        "description": "A sentence for each reason why the service is not ready",
    },
    warnings={
        "type": "array",
        "items": {"type": "string"},
        "description": "A sentence for each fault that leaves the service ready",
    },
    notes={
        "type": "array",
        "items": {"type": "string"},
        "description": "A sentence for each fact that is no fault, such as a stop by"
        " request",
    },
)
_ALIVE: Final = _object({"status": "alive"}, status={"const": "alive"})
# Not a problem as in RFC 9457: ready or not, the answer has the same shape.
_NOT_READY: Final[dict[int | str, dict[str, Any]]] = {
    int(HTTPStatus.SERVICE_UNAVAILABLE): {
        "description": "Not ready",
        "content": {
            JSON: {
                "schema": _READINESS,
                "example": {
                    "status": "not ready",
                    "problems": ["ibkr: the IBKR gateway is not logged in"],
                    "warnings": [],
                    "notes": [],
                },
            }
        },
    }
}
_SESSION: Final = {
    "broker": "ibkr",
    "status": "connected",
    "last_heartbeat_at": "2026-11-20T15:30:01Z",
    "last_message_at": "2026-11-20T15:30:04.512Z",
    "reconnect_attempt": 0,
    "subscription_count": 7,
    "last_error": None,
    "notes": [],
}
