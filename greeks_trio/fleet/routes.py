"""The HTTP interface of the fleet: health, status and metrics of all services."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import trio
from fastapi import APIRouter, Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from greeks_trio.api.answers import described, json_answer
from greeks_trio.api.media_types import JSON
from greeks_trio.fleet.metrics import fleet_lines, join_metrics
from greeks_trio.fleet.summary import fleet_status, problems_of
from greeks_trio.fleet.watch import NoAnswer, ServiceWatch, open_client, read
from greeks_trio.waiting import utc_now

logger = logging.getLogger(__name__)

ReadWatches = Callable[[], Sequence[ServiceWatch]]

STATUS_PATH: Final = "/v1/status"


def make_router(watches: ReadWatches) -> APIRouter:
    """Return the paths of the fleet.

    Args:
        watches: Returns the present services.
    """
    router = APIRouter(tags=["fleet"])

    @router.get("/livez", responses=described(_ALIVE))
    @router.get("/healthz", responses=described(_ALIVE))
    async def healthz() -> Response:  # noqa: ASYNC124
        """Answer as long as the process of the fleet does."""
        return json_answer({"status": "alive"})

    @router.get("/readyz", responses=described(_READINESS) | _NOT_READY)
    async def readyz() -> Response:  # noqa: ASYNC124
        """Answer 200 when every service is ready, else 503 with each that is not, and why."""
        not_ready = {
            each.member.name: problems
            for each in watches()
            if (problems := problems_of(each))
        }
        if not_ready:
            body = {"status": "not ready", "services": not_ready}
            return json_answer(body, HTTPStatus.SERVICE_UNAVAILABLE)
        return json_answer({"status": "ready", "services": {}})

    @router.get(STATUS_PATH, responses=described(_STATUS))
    async def status() -> Response:  # noqa: ASYNC124
        """Return the state of each service by its name, and a summary of all.

        A service that gives no answer is there with `no_answer_since`, and its last status
        with the age of that.
        """
        return json_answer(fleet_status(watches(), utc_now()))

    @router.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Return the metrics of all services with the label `service`."""
        return Response(
            await _metrics(watches()),
            headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4},
        )

    return router


async def _metrics(watches: Sequence[ServiceWatch]) -> str:
    texts: dict[str, str] = {}

    async def ask(watch: ServiceWatch) -> None:
        if watch.member.pid is None:
            return
        try:
            async with open_client(watch.member) as client:
                texts[watch.member.name] = (await read(client, "/metrics")).decode()
        except (NoAnswer, UnicodeDecodeError) as exc:
            logger.debug("fleet.no_metrics service=%s %s", watch.member.name, exc)

    async with trio.open_nursery() as nursery:
        for each in watches:
            nursery.start_soon(ask, each, name="metrics")
    in_order = {
        each.member.name: texts[each.member.name]
        for each in watches
        if each.member.name in texts
    }
    lines, left_out = join_metrics(in_order)
    for service, family in left_out:
        logger.warning(
            "fleet.metric_left_out service=%s metric=%s reason=another type",
            *(service, family),
        )
    return "\n".join([*fleet_lines(list(watches), texts), *lines, ""])


def _object(example: Mapping[str, Any], **properties: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "examples": [example],
    }


_ALIVE: Final = _object({"status": "alive"}, status={"const": "alive"})
_READINESS: Final = _object(
    {"status": "ready", "services": {}},
    status={"enum": ["ready", "not ready"]},
    services={
        "type": "object",
        "additionalProperties": {"type": "array", "items": {"type": "string"}},
        "description": "The reasons of each service that is not ready",
    },
)
_NOT_READY: Final[dict[int | str, dict[str, Any]]] = {
    int(HTTPStatus.SERVICE_UNAVAILABLE): {
        "description": "Not ready",
        "content": {JSON: {"schema": _READINESS}},
    }
}
_STATUS: Final = _object(
    {"at": "2026-11-20T15:30:01Z", "summary": {"health": "healthy"}, "services": {}},
    at={"type": "string", "format": "date-time"},
    summary={"type": "object"},
    services={"type": "object", "additionalProperties": {"type": "object"}},
)
