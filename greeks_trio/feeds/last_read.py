"""The last frame and the newest event of a feed; a gap starts there.

A frame may have waited in the socket before it is read: the process may lag behind the
broker, or may have stood still.  Frames that still wait when the connection ends are lost.
So a gap starts with the time of the newest event that was read, and not with the moment at
which it was read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final

import trio

from greeks_trio.waiting import WakeUp

# An event of the last moment: no older ones wait in the socket.
_PRESENT: Final = timedelta(seconds=0.1)
# Without a standstill, frames have not waited longer in the socket.  Events that are older
# than that when they come are those of delayed data, or of a quiet night.
_LONGEST_WAIT: Final = timedelta(minutes=1)


class LastRead:
    """The times of the last frame and of the newest event of one feed.

    Args:
        now: The wall clock, UTC.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        # By the wall clock and by the monotonic clock: the wall clock may be set.
        self._frame: tuple[datetime, float] | None = None
        self._event_at: datetime | None = None
        # When the standstill began whose frames are not all read, by the wall clock.
        self._standstill: datetime | None = None
        self._caught_up = WakeUp()
        self._waits_for_room = False
        self._had_room_at = -math.inf

    @property
    def frame_at(self) -> datetime | None:
        """When the last frame of any kind was read."""
        return self._frame[0] if self._frame else None

    def frames(self, received_at: datetime) -> None:
        """Note that frames were read."""
        self._frame = received_at, trio.current_time()

    def ticks(self, event_time: datetime) -> None:
        """Note that ticks were read together; this is the time of the newest."""
        self._event_at = event_time
        if self._standstill is not None and event_time >= self._now() - _PRESENT:
            self.caught_up()

    @contextmanager
    def waiting_for_room(self) -> Iterator[None]:
        """Within the block the feed reads nothing: its last frame waits for the pipeline."""
        self._waits_for_room = True
        try:
            yield
        finally:
            self._waits_for_room = False
            self._had_room_at = trio.current_time()

    def no_frame_for_s(self) -> float:
        """Return the seconds for which the feed could read and no frame came."""
        if self._waits_for_room:
            return 0.0
        read_at = self._frame[1] if self._frame else -math.inf
        return trio.current_time() - max(read_at, self._had_room_at)

    # A standstill of the process.

    @property
    def is_behind(self) -> bool:
        """Whether frames of a standstill may wait in the socket."""
        return self._standstill is not None

    def stood_still(self, seconds: float) -> None:
        """Note that the process has stood still for so long, and goes on now."""
        self._standstill = self._now() - timedelta(seconds=seconds)

    def caught_up(self) -> None:
        """Note that no older frames wait in the socket, or that it is closed."""
        self._standstill = self._event_at = None
        self._caught_up.wake()

    async def wait_caught_up(self) -> None:
        """Wait until no frame of a standstill waits in the socket."""
        while self._standstill is not None:
            await self._caught_up.wait()

    def take_gap_start(self) -> tuple[datetime | None, float | None]:
        """Return when a gap of the feed begins; the socket is closed.

        Returns:
            By the wall clock, `None` before the first frame; and by the monotonic clock,
            if that is known.
        """
        if self._frame is None:
            self.caught_up()
            return None, None
        at, at_s = self._frame
        earliest = self._standstill or at - _LONGEST_WAIT
        event_at = self._event_at or at
        if self._standstill is not None:
            event_at = max(earliest, self._event_at or earliest)
        self.caught_up()
        return (event_at, None) if earliest <= event_at < at else (at, at_s)
