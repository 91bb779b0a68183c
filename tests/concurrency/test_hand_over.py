from __future__ import annotations

import pytest
import trio
import trio.testing

from greeks_trio.feeds.feed import HAND_OVER_LIMIT_S
from greeks_trio.feeds.hand_over import PIECE_TICKS, hand_over
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.pipeline.journal import Journal
from tests.factories import make_frame, make_record

FRAME = make_frame(
    *(make_record(number) for number in range(2 * PIECE_TICKS + 7)), read_at=3.0
)


@pytest.fixture
def health():
    return FeedHealth("ibkr", Journal())


async def take_all(receive):
    return [piece async for piece in receive]


def ticks(pieces):
    return [tick for piece in pieces for tick in piece]


async def test_a_frame_of_usual_size_is_one_item_without_a_checkpoint(health):
    send, receive = trio.open_memory_channel(1)
    small = FRAME[:PIECE_TICKS]

    with send, receive, trio.testing.assert_no_checkpoints():
        await hand_over(send, small, health)

        assert receive.receive_nowait() is small


async def test_a_huge_frame_goes_in_pieces_in_its_order(autojump_clock, health):
    send, receive = trio.open_memory_channel(10)
    with send:
        await hand_over(send, FRAME, health)

    pieces = await take_all(receive)
    assert [len(piece) for piece in pieces] == [PIECE_TICKS, PIECE_TICKS, 7]
    assert ticks(pieces) == FRAME


async def test_a_task_that_is_cancelled_between_two_pieces_still_sends_the_rest(
    autojump_clock, health
):
    send, receive = trio.open_memory_channel(0)
    taken = []

    async def take_slowly():
        async for piece in receive:
            taken.append(piece)
            await trio.sleep(0.4)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take_slowly)
        with send, trio.move_on_after(0.1) as scope:
            await hand_over(send, FRAME, health)

    assert scope.cancelled_caught
    assert ticks(taken) == FRAME
    assert health.statistics().counts == {}


async def test_ticks_that_are_not_taken_in_time_are_counted_as_lost(
    autojump_clock, health
):
    send, receive = trio.open_memory_channel(1)

    with send, receive, trio.move_on_after(1):
        await hand_over(send, FRAME, health)

    assert trio.current_time() == 1 + HAND_OVER_LIMIT_S
    assert health.statistics().counts == {"ticks.lost": PIECE_TICKS + 7}


@pytest.mark.parametrize("room", [0, 1])
async def test_ticks_that_a_cancelled_processor_does_not_take_are_counted_as_lost(
    autojump_clock, health, room
):
    """A bug elsewhere cancels the feeds together with the processor."""
    send, receive = trio.open_memory_channel(room)

    async def process():
        with receive:
            await trio.sleep_forever()

    with trio.move_on_after(1) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(process)
            with send:
                await hand_over(send, FRAME, health)

    assert scope.cancelled_caught
    expected = len(FRAME) - room * PIECE_TICKS
    assert health.statistics().counts == {"ticks.lost": expected}


async def test_ticks_after_the_end_of_the_processor_are_counted_as_lost(health):
    send, receive = trio.open_memory_channel(1)
    receive.close()

    with send, pytest.raises(trio.BrokenResourceError):
        await hand_over(send, FRAME, health)

    assert health.statistics().counts == {"ticks.lost": len(FRAME)}
