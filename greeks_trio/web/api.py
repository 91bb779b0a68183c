"""The HTTP interface: what is asked, and what is answered."""

from __future__ import annotations

from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import msgspec
from fastapi import FastAPI, Response

from greeks_trio.model.records import StreamSession
from greeks_trio.web.view import StatusView

_JSON: Final = "application/json"


def make_api(view: StatusView) -> FastAPI:
    """Return the application, its description at ``/openapi.json``.

    The handlers are ``async`` although they do not wait, because FastAPI would run any
    other in a thread.
    """
    # FastAPI's pages about the interface load scripts from elsewhere, so they are off.
    api = FastAPI(
        title="greeks_trio", version=_version(), docs_url=None, redoc_url=None
    )

    @api.get("/livez", responses=_described(_TEXT_STATE))
    async def livez() -> Response:  # noqa: ASYNC124
        """Answer as long as the process does."""
        return _json({"status": "alive"})

    @api.get(
        "/readyz", responses=_described(_READINESS, HTTPStatus.SERVICE_UNAVAILABLE)
    )
    async def readyz() -> Response:  # noqa: ASYNC124
        """Say whether database and feeds are up, and if not, what is missing."""
        problems = list(view.readiness())
        if problems:
            body = {"status": "not ready", "problems": problems}
            return _json(body, HTTPStatus.SERVICE_UNAVAILABLE)
        return _json({"status": "ready", "problems": []})

    @api.get("/v1/streaming/status", responses=_described(_STATUS))
    async def status() -> Response:  # noqa: ASYNC124
        """Return each broker's session, then latencies, writer and counters."""
        return _json({"sessions": list(view.sessions()), **view.details()})

    return api


def _json(body: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
    # Not FastAPI's encoder: msgspec knows our records, and has null for NaN.
    return Response(msgspec.json.encode(body), status, media_type=_JSON)


def _version() -> str:
    try:
        return version("greeks-trio")
    except PackageNotFoundError:  # started from a checkout
        return "0"


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


_TEXT: Final = {"type": "string"}
_TEXT_STATE: Final = _object(status=_TEXT)
_READINESS: Final = _object(status=_TEXT, problems={"type": "array", "items": _TEXT})
_SESSION: Final = msgspec.json.schema_components((StreamSession,))[1]["StreamSession"]
_STATUS: Final = _object(sessions={"type": "array", "items": _SESSION})


def _described(schema: dict[str, Any], *also: HTTPStatus) -> dict[int | str, Any]:
    return {
        int(status): {
            "description": status.phrase,
            "content": {_JSON: {"schema": schema}},
        }
        for status in (HTTPStatus.OK, *also)
    }
