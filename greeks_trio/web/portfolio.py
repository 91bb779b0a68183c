"""What is held, its sums, and the intervals in which nothing came."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from greeks_trio.model.questions import (
    GapsQuestion,
    PortfolioQuestion,
    PositionsQuestion,
)
from greeks_trio.web import examples
from greeks_trio.web.lists import ListReads, answer_list, described_list
from greeks_trio.web.params import GapParams, PortfolioParams, PositionParams
from greeks_trio.web.schemas import GAP, PORTFOLIO, POSITION, row_schema

_PORTFOLIO = row_schema(PORTFOLIO, examples.PORTFOLIO_ROW)
_POSITION = row_schema(POSITION, examples.POSITION)
_GAP = row_schema(GAP, examples.GAP)


def make_router(reads: ListReads) -> APIRouter:
    """Return ``/v1/portfolio``, ``/v1/positions`` and ``/v1/gaps``."""
    router = APIRouter(prefix="/v1", tags=["greeks"])

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

    return router
