"""Is it alive, is it ready, how is it doing."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Response

from greeks_trio.model.records import StreamSession
from greeks_trio.web.answers import JSON, described, json_answer
from greeks_trio.web.view import StatusView


def make_router(view: StatusView) -> APIRouter:
    """Return ``/livez``, ``/readyz`` and ``/v1/streaming/status``.

    The handlers are ``async`` although they do not wait, because FastAPI would run any
    other in a thread.
    """
    router = APIRouter(tags=["status"])

    @router.get("/livez", responses=described(_ALIVE))
    async def livez() -> Response:  # noqa: ASYNC124
        """Answer as long as the process does."""
        return json_answer({"status": "alive"})

    @router.get("/readyz", responses=described(_READINESS) | _NOT_READY)
    async def readyz() -> Response:  # noqa: ASYNC124
        """Say whether database and feeds are up, and if not, what is missing."""
        problems = list(view.readiness())
        if problems:
            body = {"status": "not ready", "problems": problems}
            return json_answer(body, HTTPStatus.SERVICE_UNAVAILABLE)
        return json_answer({"status": "ready", "problems": []})

    @router.get("/v1/streaming/status", responses=described(_STATUS))
    async def status() -> Response:  # noqa: ASYNC124
        """Return each broker's session, then latencies, writer and counters."""
        return json_answer({"sessions": list(view.sessions()), **view.details()})

    return router


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


_TEXT: Final = {"type": "string"}
_ALIVE: Final = _object(status={"const": "alive"})
_READINESS: Final = _object(status=_TEXT, problems={"type": "array", "items": _TEXT})
# Not a problem as in RFC 9457: the same question has the same shape of answer.
_NOT_READY: Final[dict[int | str, dict[str, Any]]] = {
    int(HTTPStatus.SERVICE_UNAVAILABLE): {
        "description": "Not ready",
        "content": {JSON: {"schema": _READINESS}},
    }
}
_SESSION: Final = msgspec.json.schema_components((StreamSession,))[1]["StreamSession"]
_STATUS: Final = _object(sessions={"type": "array", "items": _SESSION})
