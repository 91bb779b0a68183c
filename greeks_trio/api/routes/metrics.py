"""``GET /metrics``, for Prometheus.

Some metrics look at every contract, and the text has hundreds of lines.  So it is made in
slices: a scrape must not hold up the ticks.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from fastapi import APIRouter, Request, Response
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


ReadMetrics: TypeAlias = Callable[[], Iterator[Metric | None]]


def make_router(read_metrics: ReadMetrics) -> APIRouter:
    """Return ``/metrics``.

    Args:
        read_metrics: Yields every metric with its present values, and `None` after each
            other small step.
    """
    router = APIRouter(tags=["status"])

    @router.get("/metrics", response_class=Response, responses=_ANSWERS)
    async def metrics(request: Request) -> Response:
        """Return all metrics as text, or as OpenMetrics when the request accepts it."""
        accept = request.headers.get("accept", "")
        text, content_type = await _render(read_metrics, accept)
        return Response(text, headers={"content-type": content_type})

    return router


async def _render(read_metrics: ReadMetrics, accept: str) -> tuple[bytes, str]:
    try:
        encode, content_type = choose_encoder(accept)
        return await run_in_slices(_text(read_metrics, encode)), content_type
    except TypeError:
        # The library compares the requested version with numbers, also when it is a word.
        # An error of our own would be raised again here.
        text = await run_in_slices(_text(read_metrics, generate_latest))
        return text, CONTENT_TYPE_PLAIN_0_0_4


def _text(
    read_metrics: ReadMetrics, encode: Callable[[Collector], bytes]
) -> Generator[None, None, bytes]:
    """Return the text of all metrics; yield after each small step."""
    parts: list[bytes] = []
    end = b""
    for metric in read_metrics():
        yield
        if metric is None:
            continue
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
