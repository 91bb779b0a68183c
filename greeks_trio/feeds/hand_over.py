"""Handing over what was read, whole, whatever happens to the one who read it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import trio

from greeks_trio.feeds.feed import HAND_OVER_LIMIT_S, TickSender
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.model.records import FrameTicks

logger = logging.getLogger(__name__)

# Frames of several MiB, with tens of thousands of ticks, go in pieces of so many, so that
# the bound of the channel is one of memory too.
PIECE_TICKS: Final = 500


async def hand_over(out: TickSender, frame: FrameTicks, health: FeedHealth) -> None:
    """Send the frame, waiting for as long as it takes.

    Cancelled, it still tries for `HAND_OVER_LIMIT_S`: what has been read is ours, and
    only the read of the next frame may be cancelled.  What cannot be sent then is lost,
    counted as ``ticks.lost`` and logged.  Is no checkpoint while there is room.
    """
    small = len(frame.ticks) <= PIECE_TICKS
    pieces = deque([frame] if small else _pieces(frame))
    try:
        await _send_all(out, pieces)
    except trio.Cancelled:
        with (
            trio.move_on_after(HAND_OVER_LIMIT_S, shield=True),
            # Cancelled together with the processor, which has closed its end.
            suppress(trio.BrokenResourceError),
        ):
            await _send_all(out, pieces)
        raise
    finally:
        for lost in pieces:
            health.count("ticks.lost", len(lost.ticks))
            logger.critical(
                "feed.ticks_lost broker=%s ticks=%d", lost.broker, len(lost.ticks)
            )


async def _send_all(out: TickSender, pieces: deque[FrameTicks]) -> None:
    """Send and remove the pieces; a send that is cancelled has not happened."""
    while pieces:
        try:
            out.send_nowait(pieces[0])
        except trio.WouldBlock:
            await out.send(pieces[0])
        pieces.popleft()


def _pieces(frame: FrameTicks) -> Iterator[FrameTicks]:
    for start in range(0, len(frame.ticks), PIECE_TICKS):
        ticks = frame.ticks[start : start + PIECE_TICKS]
        yield FrameTicks(frame.broker, frame.read_at, ticks)
