"""Is it alive, is it ready, how is it doing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, Protocol

from fastapi import APIRouter, Response

from greeks_trio.api.answers import JSON, described, json_answer
from greeks_trio.api.routes.feeds import session_schema
from greeks_trio.model.records import StreamSession


class StatusView(Protocol):
    """The running service, for reading.  Nothing here waits or holds a secret."""

    def sessions(self) -> Sequence[StreamSession]:
        """Return the state of each enabled broker's feed."""

    def readiness(self) -> Sequence[str]:
        """Return what keeps the service from being ready, nothing when it is."""

    def warnings(self) -> Sequence[str]:
        """Return what is wrong or unusual although the service is ready."""

    def details(self) -> Mapping[str, Any]:
        """Return latencies and counters, in types that JSON has."""


def make_router(view: StatusView, brokers: Sequence[str]) -> APIRouter:
    """Return ``/livez``, ``/readyz`` and ``/v1/streaming/status``.

    The handlers are ``async`` although they do not wait, because FastAPI would run any
    other in a thread.

    Args:
        view: The running service.
        brokers: The names of all brokers, for OpenAPI.
    """
    router = APIRouter(tags=["status"])

    @router.get("/livez", responses=described(_ALIVE))
    async def livez() -> Response:  # noqa: ASYNC124
        """Answer as long as the process does."""
        return json_answer({"status": "alive"})

    @router.get("/readyz", responses=described(_READINESS) | _NOT_READY)
    async def readyz() -> Response:  # noqa: ASYNC124
        """Say whether database and feeds are up, and if not, what is missing."""
        problems, warnings = list(view.readiness()), list(view.warnings())
        body = {"status": "ready", "problems": problems, "warnings": warnings}
        if problems:
            body["status"] = "not ready"
            return json_answer(body, HTTPStatus.SERVICE_UNAVAILABLE)
        return json_answer(body)

    @router.get("/v1/streaming/status", responses=described(_status_schema(brokers)))
    async def status() -> Response:  # noqa: ASYNC124
        """Return each broker's session, then latencies, writer and counters."""
        return json_answer({"sessions": list(view.sessions()), **view.details()})

    return router


def _object(example: dict[str, Any], **properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "examples": [example],
    }


def _part(description: str) -> dict[str, Any]:
    return {"type": "object", "description": description}


_READINESS: Final = _object(
    {"status": "ready", "problems": [], "warnings": ["ibkr: stopped by request"]},
    status={"enum": ["ready", "not ready"]},
    problems={
        "type": "array",
        "items": {"type": "string"},
        "description": "What is missing, in words",
    },
    warnings={
        "type": "array",
        "items": {"type": "string"},
        "description": "What is wrong or unusual although it is ready, in words",
    },
)
_ALIVE: Final = _object({"status": "alive"}, status={"const": "alive"})
# Not a problem as in RFC 9457: the same question has the same shape of answer.
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
                },
            }
        },
    }
}
_EXAMPLE: Final = {
    "sessions": [
        {
            "broker": "ibkr",
            "status": "connected",
            "last_heartbeat_at": "2026-11-20T15:30:01Z",
            "last_message_at": "2026-11-20T15:30:04.512Z",
            "reconnect_attempt": 0,
            "subscription_count": 7,
            "last_error": None,
        }
    ],
    "database": {"connected": True, "last_error": None},
    "slo": {"p95_ms": 2.6, "target_ms": 500.0, "is_breached": False, "breaches": 0},
    "loop_lag_ms": {"last_minute": {"p50": 0.4, "p95": 1.0, "p99": 1.2, "max": 3.0}},
    "latency_ms": {
        "last_minute": {"p50": 1.9, "p95": 2.6, "p99": 4.1, "max": 9.8},
    },
    "ticks": {"received": {"ibkr": 3000}, "persisted": {"ibkr": 3000}, "lost": 0},
    "spool": {"rows": 0, "bytes": 16384, "oldest_at": None, "last_error": None},
    "quarantine": {"waiting": 0},
    "memory": {"resident_bytes": 150_000_000, "backlog_bytes": 0},
    "writer": {"flushes": 2810, "retries": 0, "backlog": 0, "journal_waiting": 0},
    "contracts": 7,
    "staleness": {
        "after_s": 300.0,
        "contracts": {"ibkr": 0},
        "not_realtime": {"ibkr": 0},
        "oldest": [],
    },
    "feeds": {"ibkr": {"wanted": 7, "subscription_count": 7, "reconnects": 0}},
}


# Not all that each part says: every version of the service has a little more to say.
def _status_schema(brokers: Sequence[str]) -> dict[str, Any]:
    return _object(
        _EXAMPLE,
        sessions={"type": "array", "items": session_schema(brokers)},
        database=_part(
            "Whether the writer is connected, and what the server said last"
        ),
        latency_ms=_part(
            "From frame read to durable, on disk or in the table; `to_commit`: to the table"
        ),
        ticks=_part("Counters since the start"),
        slo=_part("The p95 of the last minute against its bar"),
        loop_lag_ms=_part("How late the event loop wakes a task"),
        spool=_part("What waits on disk for the database"),
        quarantine=_part("Rows that PostgreSQL refused, and that wait for a person"),
        memory=_part("In bytes: the process, and ticks that wait in memory"),
        writer=_part("Flushes, and what is not in its table yet"),
        contracts={"type": "integer", "description": "Contracts with a tick so far"},
        staleness=_part(
            "By broker, of the subscribed contracts: without a tick for `after_s` seconds "
            "(`contracts`, the longest silent in `oldest`); newest tick not real-time"
        ),
        feeds=_part(
            "By broker: contracts wanted and subscribed, reconnects, odd frames"
        ),
    )
