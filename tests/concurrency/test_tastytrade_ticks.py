from __future__ import annotations

import trio

from greeks_trio.brokers.tastytrade.keep_alive import KEEPALIVE_INTERVAL_S
from tests.concurrency.tastytrade_fakes import (
    CALL,
    Tastytrade,
    greeks_row,
    interrupted,
    make_item,
    started,
)
from tests.factories import SPY_CALL


async def test_a_slow_pipeline_loses_nothing(autojump_clock, nursery):
    tasty = Tastytrade(nursery, make_item(SPY_CALL), room=0)
    await started(nursery, tasty)

    for delta in (0.1, 0.2, 0.3):
        await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL, delta)]))
    await trio.sleep(10)
    ticks = []
    while len(ticks) < 3:
        ticks += await tasty.receive()

    assert [tick.delta for tick in ticks] == [0.1, 0.2, 0.3]


async def test_a_send_that_finds_the_socket_closed_costs_no_unread_frame(
    autojump_clock, nursery
):
    tasty = Tastytrade(nursery, make_item(SPY_CALL), room=0)
    delivered = []

    async def send_and_close():
        await tasty.dxlink.wait_subscribed()
        await trio.sleep(KEEPALIVE_INTERVAL_S - 1)
        for delta in (0.1, 0.2):
            await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL, delta)]))
        await tasty.dxlink.close()

    async def receive_slowly():
        await trio.sleep(KEEPALIVE_INTERVAL_S + 0.5)
        while True:
            delivered.extend(tick.delta for tick in await tasty.receive())

    nursery.start_soon(send_and_close)
    nursery.start_soon(receive_slowly)
    with interrupted("the quote server closed the connection .1000"):
        await tasty.feed.run_connection()

    assert delivered == [0.1, 0.2]
    assert trio.current_time() == KEEPALIVE_INTERVAL_S + 0.5
    nursery.cancel_scope.cancel()


async def test_a_stop_waits_a_second_for_the_pipeline_and_then_is_loud(
    autojump_clock, nursery, caplog
):
    tasty = Tastytrade(nursery, make_item(SPY_CALL), room=0)

    async def send():
        await tasty.dxlink.wait_subscribed()
        row = greeks_row(CALL)
        await tasty.dxlink.send_rows(("Greeks", [row, row]))

    nursery.start_soon(send)
    with trio.move_on_after(5):
        await tasty.feed.run_connection()

    assert trio.current_time() == 6.0
    assert tasty.health.statistics().counts["ticks.lost"] == 2
    assert "feed.ticks_lost broker=tastytrade ticks=2" in caplog.text
