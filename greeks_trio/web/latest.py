"""The newest Greeks of what is held, now and then, and of both brokers beside."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from greeks_trio.model.questions import DivergenceQuestion, LatestQuestion
from greeks_trio.web import examples
from greeks_trio.web.lists import ListReads, answer_list, described_list
from greeks_trio.web.params import AsOfParams, DivergenceParams, LatestParams
from greeks_trio.web.schemas import DIVERGENCE, LATEST, row_schema

_LATEST = row_schema(LATEST, examples.LATEST)
_DIVERGENCE = row_schema(DIVERGENCE, examples.DIVERGENCE)


def make_router(reads: ListReads) -> APIRouter:
    """Return ``/v1/greeks/latest``, ``/v1/greeks/asof`` and ``/v1/divergence``."""
    router = APIRouter(prefix="/v1", tags=["greeks"])

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

    return router
