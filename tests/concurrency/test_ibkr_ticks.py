from __future__ import annotations

import json
import random
from decimal import Decimal

import pytest
import trio

from greeks_trio.brokers.ibkr.lines.plan import Plan, WantedContract
from greeks_trio.brokers.ibkr.lines.renewals import LineSchedule
from greeks_trio.brokers.ibkr.lines.rotation import Rotation
from greeks_trio.brokers.ibkr.state import StreamState
from greeks_trio.brokers.ibkr.ticks import FrameReader
from greeks_trio.brokers.ibkr.wire.protocol import IbkrProtocol
from greeks_trio.feeds.feed import HAND_OVER_LIMIT_S
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.silence import SilenceWatch
from greeks_trio.model.contracts import Conid, contract_from_occ
from greeks_trio.model.positions import Holder
from greeks_trio.pipeline.journal import Journal
from tests.factories import records_of

HOLDERS = tuple(Holder(f"U{number:03d}", Decimal(number)) for number in range(1, 301))
CONTRACT = contract_from_occ("SPY   261218C00600000")


class TwoFrames:
    """A socket with two frames; counts the frames that were taken."""

    def __init__(self):
        self.taken = 0

    async def receive(self):
        await trio.lowlevel.checkpoint()
        if self.taken == 2:
            await trio.sleep_forever()
        self.taken += 1
        fields = {"7308": "0.5", "_updated": 1_790_000_000_000 + self.taken}
        return [json.dumps({"topic": "smd+7", "conid": 7} | fields).encode()]


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope when the named task waits after its n-th step."""

    def __init__(self, name, step, scope):
        self.name = name
        self.step = step
        self.scope = scope

    def after_task_step(self, task):
        if task.name == self.name:
            self.step -= 1
            if self.step == 0:
                self.scope.cancel()


def make_reader(out, health, holders=HOLDERS):
    """Return a reader that makes ticks of the frames of `CONTRACT`."""
    state = StreamState("s", LineSchedule(jitter=random.random), Rotation())
    wanted = WantedContract(CONTRACT, holders, None)
    state.plan_changed(Plan({Conid(7): wanted}, (Conid(7),)), 0.0)
    protocol = IbkrProtocol(state)
    return FrameReader(health, out, state, protocol, SilenceWatch(lambda: 30.0))


async def collect(frames, into):
    """Take frames slowly, so that the reader has to wait for us."""
    async for frame in frames:
        into.append(frame)
        await trio.sleep(0.1)


@pytest.mark.parametrize("step", range(1, 12))
async def test_a_stop_at_any_moment_loses_nothing_of_a_frame_that_was_read(
    autojump_clock, step
):
    socket, received = TwoFrames(), []
    out, frames = trio.open_memory_channel(0)
    reader = make_reader(out, FeedHealth("ibkr", Journal()))
    scope = trio.CancelScope()

    async def read():
        with scope, out:
            await reader.run(socket)

    instrument = CancelAtStep("the reader", step, scope)
    trio.lowlevel.add_instrument(instrument)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect, frames, received)
        nursery.start_soon(read, name="the reader")
        await trio.sleep(5)
        scope.cancel()
    trio.lowlevel.remove_instrument(instrument)

    assert [len(frame) for frame in received] == [300] * socket.taken
    assert instrument.step <= 0 or socket.taken == 2


async def test_a_full_pipeline_is_waited_for_as_long_as_it_takes(
    autojump_clock, nursery
):
    health, received = FeedHealth("ibkr", Journal()), []
    out, frames = trio.open_memory_channel(0)
    reader = make_reader(out, health, HOLDERS[:2])
    nursery.start_soon(reader.run, TwoFrames())
    await trio.sleep(3600)

    for _ in range(2):
        received += records_of(await frames.receive())

    assert len(received) == 4
    assert health.statistics().counts == {}


async def test_a_stop_waits_a_second_for_a_full_pipeline_and_tells_the_loss(
    autojump_clock, caplog
):
    health = FeedHealth("ibkr", Journal())
    out, _frames = trio.open_memory_channel(0)
    reader = make_reader(out, health, HOLDERS[:2])

    with trio.move_on_after(100):
        await reader.run(TwoFrames())

    assert trio.current_time() == 100 + HAND_OVER_LIMIT_S
    assert health.statistics().counts == {"ticks.lost": 2}
    assert "feed.ticks_lost broker=ibkr ticks=2" in caplog.text
