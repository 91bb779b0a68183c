"""The timeline: every tick."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from greeks_trio.model.questions import SnapshotsQuestion
from greeks_trio.web import examples
from greeks_trio.web.lists import ListReads, answer_list, described_list
from greeks_trio.web.params import SnapshotParams
from greeks_trio.web.schemas import SNAPSHOT, row_schema

_PAYLOAD = {
    "source_payload": {
        "type": "object",
        "description": "What the broker sent, with `include=payload` only.",
    }
}
_ROW = row_schema(SNAPSHOT | _PAYLOAD, examples.SNAPSHOT, optional=("source_payload",))


def make_router(reads: ListReads) -> APIRouter:
    """Return ``/v1/greeks/snapshots``."""
    router = APIRouter(prefix="/v1/greeks", tags=["greeks"])

    @router.get("/snapshots", responses=described_list(_ROW))
    async def snapshots(
        request: Request, params: Annotated[SnapshotParams, Query()]
    ) -> Response:
        """Return ticks by `event_time`, `received_at`, `id`.

        A walk from cursor to cursor has each row that was committed before its first page
        exactly once; what is committed later may come in, and nothing comes twice.  As
        `csv` or `ndjson` it is the whole range as of one moment, however long it takes to
        read; when it cannot be finished, the stream is broken off, which HTTP clients
        report as an error.
        """
        return await answer_list(
            reads,
            request,
            params,
            params.question(SnapshotsQuestion),
            name="greek_snapshots",
            has_payload=params.include == "payload",
        )

    return router
