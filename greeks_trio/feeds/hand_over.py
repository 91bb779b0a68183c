"""Handing over the ticks of a frame, all of them, also when the reader is cancelled."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from operator import attrgetter
from typing import Final

import trio

from greeks_trio.feeds.feed import HAND_OVER_LIMIT_S, TickSender
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.model.records import Tick

logger = logging.getLogger(__name__)

# Frames of several MiB, with tens of thousands of ticks, go in pieces of so many, so that
# the bound of the channel is one of memory too.
PIECE_TICKS: Final = 500

_EVENT_TIME: Final = attrgetter("record.event_time")


async def hand_over(out: TickSender, ticks: list[Tick], health: FeedHealth) -> None:
    """Send the ticks of one frame, waiting for as long as it takes.

    Cancelled, it still tries for `HAND_OVER_LIMIT_S`: a frame that was read must not be
    lost.  Ticks that cannot be sent in that time are lost, counted as ``ticks.lost`` and
    logged.  Is no checkpoint while there is room.
    """
    if ticks:
        health.last_read.ticks(max(map(_EVENT_TIME, ticks)))
    small = len(ticks) <= PIECE_TICKS
    pieces = deque([ticks] if small else _pieces(ticks))
    try:
        await _send_all(out, pieces, health)
    except trio.Cancelled:
        with (
            trio.move_on_after(HAND_OVER_LIMIT_S, shield=True),
            # Cancelled together with the processor, which has closed its end.
            suppress(trio.BrokenResourceError),
        ):
            await _send_all(out, pieces, health)
        raise
    finally:
        for lost in pieces:
            health.count("ticks.lost", len(lost))
            logger.critical(
                "feed.ticks_lost broker=%s ticks=%d", health.broker, len(lost)
            )


async def _send_all(
    out: TickSender, pieces: deque[list[Tick]], health: FeedHealth
) -> None:
    """Send and remove the pieces; a send that is cancelled has not happened."""
    while pieces:
        try:
            out.send_nowait(pieces[0])
        except trio.WouldBlock:
            with health.last_read.waiting_for_room():
                await out.send(pieces[0])
        pieces.popleft()


def _pieces(ticks: list[Tick]) -> Iterator[list[Tick]]:
    for start in range(0, len(ticks), PIECE_TICKS):
        yield ticks[start : start + PIECE_TICKS]
