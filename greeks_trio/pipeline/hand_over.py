"""Handing over what was read, whole, whatever happens to the one who read it."""

from __future__ import annotations

import logging

import trio

from greeks_trio.brokers.feed import HAND_OVER_LIMIT_S, TickSender
from greeks_trio.model.records import FrameTicks
from greeks_trio.pipeline.health import SessionHealth

logger = logging.getLogger(__name__)


async def hand_over(out: TickSender, frame: FrameTicks, health: SessionHealth) -> None:
    """Send the frame, waiting for as long as it takes.

    Cancelled, it still tries for `HAND_OVER_LIMIT_S`: what has been read is ours, and
    only the read of the next frame may be cancelled.  What cannot be sent then is lost,
    counted as ``ticks.lost`` and logged.  Is no checkpoint while there is room.
    """
    try:
        out.send_nowait(frame)
    except trio.WouldBlock:
        await _wait_for_room(out, frame, health)


async def _wait_for_room(
    out: TickSender, frame: FrameTicks, health: SessionHealth
) -> None:
    try:
        await out.send(frame)
    except trio.Cancelled:
        # A send that was cancelled has not happened.
        with trio.move_on_after(HAND_OVER_LIMIT_S, shield=True) as scope:
            await out.send(frame)
        if scope.cancelled_caught:
            health.count("ticks.lost", len(frame.ticks))
            logger.critical(
                "feed.ticks_lost broker=%s ticks=%d", frame.broker, len(frame.ticks)
            )
        raise
