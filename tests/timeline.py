"""The timeline as a test asks it, over HTTP or without."""

from __future__ import annotations

from contextlib import asynccontextmanager

import httpx2
import msgspec
import trio

from greeks_trio.api.routes import greeks, trades
from greeks_trio.api.server import run_http
from greeks_trio.config.settings import HttpConfig
from greeks_trio.postgres.reads.reader import Reader
from greeks_trio.postgres.reads.timeline import Timeline

APPLICATION = "greeks_trio reads"


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
        yield Timeline(reader, 300.0)


def routers_of(timeline):
    """Return all that a timeline answers."""
    return [module.make_router(timeline) for module in (greeks, trades)]


@asynccontextmanager
async def serving(timeline, **config):
    """Yield a client of an interface that answers from the timeline, or a fake one."""
    async with trio.open_nursery() as nursery:
        url = await nursery.start(
            run_http, HttpConfig(port=0, **config), routers_of(timeline)
        )
        # Longer than any limit of the service.
        async with httpx2.AsyncClient(
            base_url=url, trust_env=False, timeout=20
        ) as client:
            yield client
        nursery.cancel_scope.cancel()


async def all_of(timeline, question, limit=500, **options):
    """Return all rows of a list, page by page."""
    rows, place = [], None
    while True:
        page = await timeline.page(question, place, limit, **options)
        rows += msgspec.json.decode(page.items)
        place = page.next_place
        if place is None:
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
