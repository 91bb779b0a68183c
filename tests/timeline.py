"""The timeline as a test reads it, over HTTP or without."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import cache

import httpx2
import msgspec
import pytest
import trio

from greeks_trio.api.lists.parameters import params_model
from greeks_trio.api.lists.resources import RESOURCES
from greeks_trio.api.routes import lists, position_tags, trades
from greeks_trio.api.server import run_http
from greeks_trio.config.settings import BROKERS, HttpConfig
from greeks_trio.postgres.reads.reader import Reader
from greeks_trio.postgres.reads.timeline import Timeline

APPLICATION = "greeks_trio reads"
STALE_AFTER_S = 300.0


@asynccontextmanager
async def reading(database, **limits):
    """Yield a reader of the database."""
    reader = Reader(lambda: database, HttpConfig(**limits))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.run)
        yield reader
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def asking(database, **limits):
    """Yield the timeline in the database."""
    async with reading(database, **limits) as reader:
        yield Timeline(reader, stale_after_s=STALE_AFTER_S, export_timeout_s=60.0)


def _known_model(parameters, extras, brokers):
    return _make_model(parameters, tuple(extras.items()), tuple(brokers))


@cache
def _make_model(parameters, extras, brokers):
    """Return the same model for each test: to make all of them costs 50 ms."""
    return params_model(parameters, dict(extras), brokers)


def routers_of(timeline, resources=RESOURCES):
    """Return the routes that a timeline answers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lists, "params_model", _known_model)
        of_lists = lists.make_router(timeline, BROKERS, resources)
    return [
        of_lists,
        trades.make_router(timeline, BROKERS),
        position_tags.make_router(timeline, BROKERS),
    ]


def listing_of(resource, *, include=None, stale_after_s=STALE_AFTER_S, **values):
    """Return a list for PostgreSQL, with these values of its parameters."""
    wanted = resource.wanted(**values)
    return resource.listing(wanted, include=include, stale_after_s=stale_after_s)


@asynccontextmanager
async def serving(timeline, resources=RESOURCES, **config):
    """Yield a client of an interface that answers from the timeline, or a fake one."""
    async with trio.open_nursery() as nursery:
        url = await nursery.start(
            run_http, HttpConfig(port=0, **config), routers_of(timeline, resources)
        )
        # Longer than any limit of the service.
        async with httpx2.AsyncClient(
            base_url=url, trust_env=False, timeout=20
        ) as client:
            yield client
        nursery.cancel_scope.cancel()


async def all_of(timeline, resource, limit=500, **values):
    """Return all rows of a list, page by page."""
    listing = listing_of(resource, stale_after_s=timeline.stale_after_s, **values)
    rows, position = [], None
    while True:
        page = await timeline.page(listing, position, limit)
        rows += msgspec.json.decode(page.items)
        position = page.position
        if position is None:
            return rows


def sessions(observer, condition="true"):
    """Return the pids of the reader's sessions in this database."""
    cursor = observer.execute(
        f"select pid from pg_stat_activity where application_name = '{APPLICATION}'"
        f" and datname = current_database() and ({condition})"
    )
    return {pid for (pid,) in cursor}


async def wait_sessions(observer, count, condition="true"):
    """Wait until there are so many of the reader's sessions."""
    while len(sessions(observer, condition)) != count:
        await trio.lowlevel.checkpoint()
