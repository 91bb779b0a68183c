"""``GET /metrics``, for Prometheus."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import (
    CONTENT_TYPE_PLAIN_0_0_4,
    choose_encoder,
    generate_latest,
)
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST


def make_router(registry: CollectorRegistry) -> APIRouter:
    """Return ``/metrics``, which reads the registry at each request."""
    router = APIRouter(tags=["status"])

    @router.get("/metrics", response_class=Response, responses=_ANSWERS)
    async def metrics(request: Request) -> Response:  # noqa: ASYNC124
        """Return all metrics as text, or as OpenMetrics when the request accepts it."""
        text, content_type = _render(registry, request.headers.get("accept", ""))
        return Response(text, headers={"content-type": content_type})

    return router


def _render(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    try:
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type
    except TypeError:
        # The library compares the requested version with numbers, also when it is a word.
        # An error of our own would be raised again here.
        return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4


_EXAMPLE: Final = """\
# HELP greeks_ticks_received_total Ticks received from the feeds.
# TYPE greeks_ticks_received_total counter
greeks_ticks_received_total{broker="ibkr"} 48211.0
"""
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    int(HTTPStatus.OK): {
        "description": "Every metric as it is at this moment",
        "content": {
            each: {"schema": {"type": "string"}, "example": _EXAMPLE}
            for each in (CONTENT_TYPE_PLAIN_0_0_4, CONTENT_TYPE_LATEST)
        },
    }
}
