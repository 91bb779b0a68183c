"""The HTTP interface: one application of many routers."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from fastapi import APIRouter, FastAPI

from greeks_trio.web.answers import answer_problems


def make_api(routers: Iterable[APIRouter]) -> FastAPI:
    """Return the application, its description at ``/openapi.json``."""
    # FastAPI's pages about the interface load scripts from elsewhere, so they are off.
    api = FastAPI(
        title="greeks_trio", version=_version(), docs_url=None, redoc_url=None
    )
    answer_problems(api)
    for router in routers:
        api.include_router(router)
    return api


def _version() -> str:
    try:
        return version("greeks-trio")
    except PackageNotFoundError:  # started from a checkout
        return "0"
