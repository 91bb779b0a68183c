"""The clients of `bin/bench interface` count what a real server sends."""

from __future__ import annotations

import trio
import trio.testing

from greeks_trio.api.routes.live import EventSource, make_router
from greeks_trio.api.server import run_http
from greeks_trio.config.settings import BROKERS, HttpConfig
from greeks_trio.pipeline.latest import Latest
from greeks_trio.waiting import utc_now
from tests.benchmarks.http_clients import Asked, Streams, ask_in_turn
from tests.factories import SPY_CALL, SPY_PUT, make_record


def put(latest, contract_key):
    record = make_record(contract_key=contract_key, event_time=utc_now())
    latest.put((record.broker, record.account_id, contract_key), record)


async def test_the_clients_count_ticks_their_lag_and_refusals(nursery):
    latest = Latest()
    put(latest, SPY_CALL)
    source = EventSource(latest, list, dict)
    url = await nursery.start(
        run_http, HttpConfig(port=0), [make_router(source, BROKERS)]
    )
    clients, asked = Streams(url, 2), dict[str, Asked]()
    async with trio.open_nursery() as running:
        await running.start(clients.run)
        running.start_soon(ask_in_turn, url, ["/metrics"], asked)
        put(latest, SPY_PUT)
        with trio.fail_after(20):
            while clients.found.ticks < 4 or clients.found.slow_ticks < 2:
                await trio.testing.wait_all_tasks_blocked(0.01)
        running.cancel_scope.cancel()

    found = clients.result()
    assert (found.ticks, found.slow_ticks) == (4, 2)
    # Two events at each fast client: what there was, and the change.
    assert found.events >= 2
    assert 0 < found.lag_ms[0] <= found.lag_ms[-1] < 20_000
    assert asked["/metrics"].refused == len(asked["/metrics"].times) >= 1
    nursery.cancel_scope.cancel()
