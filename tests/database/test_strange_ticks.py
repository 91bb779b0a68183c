"""The strangest ticks that any frame can lead to are stored, payload and all."""

from __future__ import annotations

import pytest

from greeks_trio.model.fingerprint import fingerprint
from greeks_trio.model.payload import jsonb_safe
from greeks_trio.model.records import Tick
from greeks_trio.postgres.tick_store import TickStore
from tests.factories import make_tick
from tests.fix_postgres import connect
from tests.fuzz.campaign import PROTOCOLS, run_campaign
from tests.fuzz.target import START
from tests.snapshots import count

FRAMES = 12_000
MOST = 1_000


def strangeness(record):
    """Return a measure of the difference from a real payload."""
    payload = record.source_payload
    marks = (b"\\u", b"[[", b":{", b"e9", b"E9", b"e-", b"00000000", b"99999999")
    return sum(mark in payload for mark in marks), len(payload)


def strangest_ticks(protocol):
    found = {}

    def keep(record):
        tick = Tick(record, fingerprint(record), 0.0)
        key = (record.account_id, record.contract_key, record.event_time)
        found[key, tick.fingerprint] = tick

    run_campaign(protocol, FRAMES, seed=1, keep=keep)
    ordered = sorted(found.values(), key=lambda tick: strangeness(tick.record))
    return ordered[-MOST:]


@pytest.fixture(params=PROTOCOLS)
def ticks(request):
    """The strangest of one campaign; made before the test's own event loop runs."""
    return strangest_ticks(request.param)


async def test_the_strangest_ticks_of_a_campaign_are_stored(database, ticks):
    async with TickStore(database, today=START.date).open() as sink:
        await sink.write(ticks)

    with connect(database) as observer:
        assert count(observer) == len(ticks) == MOST


async def test_a_payload_as_deep_as_any_that_is_read_is_stored(database):
    payload, _ = jsonb_safe(rb'{"a":"\u0000","b":' + b"[" * 980 + b"]" * 980 + b"}")

    async with TickStore(database, today=START.date).open() as sink:
        await sink.write([make_tick(source_payload=payload)])

    with connect(database) as observer:
        assert count(observer) == 1
