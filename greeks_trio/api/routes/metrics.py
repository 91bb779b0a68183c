"""``GET /metrics``, for Prometheus.

Some metrics look at every contract, and the text has hundreds of lines.  So it is made in
slices: a scrape must not hold up the ticks.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import (
    CONTENT_TYPE_PLAIN_0_0_4,
    choose_encoder,
    generate_latest,
)
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from greeks_trio.waiting import run_in_slices

_END: Final = b"# EOF\n"  # of OpenMetrics


def make_router(registry: CollectorRegistry) -> APIRouter:
    """Return ``/metrics``, which reads the registry at each request."""
    router = APIRouter(tags=["status"])

    @router.get("/metrics", response_class=Response, responses=_ANSWERS)
    async def metrics(request: Request) -> Response:
        """Return all metrics as text, or as OpenMetrics when the request accepts it."""
        text, content_type = await _render(registry, request.headers.get("accept", ""))
        return Response(text, headers={"content-type": content_type})

    return router


async def _render(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    try:
        encode, content_type = choose_encoder(accept)
        return await run_in_slices(_text(registry, encode)), content_type
    except TypeError:
        # The library compares the requested version with numbers, also when it is a word.
        # An error of our own would be raised again here.
        text = await run_in_slices(_text(registry, generate_latest))
        return text, CONTENT_TYPE_PLAIN_0_0_4


def _text(
    registry: CollectorRegistry, encode: Callable[[Collector], bytes]
) -> Generator[None, None, bytes]:
    """Return the text of all metrics; yield after each one."""
    parts: list[bytes] = []
    end = b""
    for metric in registry.collect():
        yield
        text = encode(_OneMetric(metric))
        if text.endswith(_END):
            end = _END
        parts.append(text.removesuffix(_END))
        yield
    return b"".join(parts) + end


class _OneMetric(Collector):
    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        """Yield the metric."""
        yield self._metric


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
