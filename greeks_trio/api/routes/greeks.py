"""What is known of Greeks: every tick, the newest ones, sums, positions and gaps."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from greeks_trio.api.lists import examples
from greeks_trio.api.lists.lists import ListReads, answer_list, described_list
from greeks_trio.api.lists.params import (
    AsOfParams,
    DivergenceParams,
    GapParams,
    LatestParams,
    PortfolioParams,
    PositionParams,
    SnapshotParams,
)
from greeks_trio.api.lists.schemas import (
    DIVERGENCE,
    GAP,
    LATEST,
    PORTFOLIO,
    POSITION,
    SNAPSHOT,
    row_schema,
)
from greeks_trio.postgres.reads.questions import (
    DivergenceQuestion,
    GapsQuestion,
    LatestQuestion,
    PortfolioQuestion,
    PositionsQuestion,
    SnapshotsQuestion,
)

_PAYLOAD = {
    "source_payload": {
        "type": "object",
        "description": "What the broker sent, with `include=payload` only.",
    }
}
_ROW = row_schema(SNAPSHOT | _PAYLOAD, examples.SNAPSHOT, optional=("source_payload",))
_LATEST = row_schema(LATEST, examples.LATEST)
_DIVERGENCE = row_schema(DIVERGENCE, examples.DIVERGENCE)
_PORTFOLIO = row_schema(PORTFOLIO, examples.PORTFOLIO_ROW)
_POSITION = row_schema(POSITION, examples.POSITION)
_GAP = row_schema(GAP, examples.GAP)


def make_router(reads: ListReads) -> APIRouter:
    """Return the lists of Greeks, sums, positions and gaps below ``/v1``."""
    router = APIRouter(prefix="/v1", tags=["greeks"])
    _add_timeline(router, reads)
    _add_newest(router, reads)
    _add_portfolio(router, reads)
    return router


def _add_timeline(router: APIRouter, reads: ListReads) -> None:
    """Add ``/v1/greeks/snapshots``."""

    @router.get("/greeks/snapshots", responses=described_list(_ROW))
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


def _add_newest(router: APIRouter, reads: ListReads) -> None:
    """Add ``/v1/greeks/latest``, ``/v1/greeks/asof`` and ``/v1/divergence``."""

    @router.get("/greeks/latest", responses=described_list(_LATEST))
    async def latest(
        request: Request, params: Annotated[LatestParams, Query()]
    ) -> Response:
        """Return the newest Greeks of each contract that is held, or watched.

        A contract without any tick is there too, with nulls.
        """
        asked = params.question(LatestQuestion)
        return await answer_list(reads, request, params, asked, name="latest_greeks")

    @router.get("/greeks/asof", responses=described_list(_LATEST))
    async def asof(
        request: Request, params: Annotated[AsOfParams, Query()]
    ) -> Response:
        """Return what `latest` would have said at some moment."""
        asked = params.question(LatestQuestion)
        return await answer_list(reads, request, params, asked, name="greeks_asof")

    @router.get("/divergence", responses=described_list(_DIVERGENCE))
    async def divergence(
        request: Request, params: Annotated[DivergenceParams, Query()]
    ) -> Response:
        """Return the contracts that both brokers have, side by side."""
        asked = params.question(DivergenceQuestion)
        return await answer_list(
            reads, request, params, asked, name="broker_divergence"
        )


def _add_portfolio(router: APIRouter, reads: ListReads) -> None:
    """Add ``/v1/portfolio``, ``/v1/positions`` and ``/v1/gaps``."""

    @router.get("/portfolio", responses=described_list(_PORTFOLIO))
    async def portfolio(
        request: Request, params: Annotated[PortfolioParams, Query()]
    ) -> Response:
        """Return sums for each account, currency, underlying and expiration.

        Each sum comes with the count of what it lacks; a sum of nothing is null.
        """
        asked = params.question(PortfolioQuestion)
        return await answer_list(reads, request, params, asked, name="portfolio")

    @router.get("/positions", responses=described_list(_POSITION))
    async def positions(
        request: Request, params: Annotated[PositionParams, Query()]
    ) -> Response:
        """Return what is held, or was held at some moment."""
        asked = params.question(PositionsQuestion)
        return await answer_list(reads, request, params, asked, name="positions")

    @router.get("/gaps", responses=described_list(_GAP))
    async def gaps(request: Request, params: Annotated[GapParams, Query()]) -> Response:
        """Return the intervals without data that the service knows of, by their start."""
        asked = params.question(GapsQuestion)
        return await answer_list(reads, request, params, asked, name="feed_gaps")
