"""The clients of the simulated gateways' WebSockets, and the actions on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

from greeks_trio.simulators.ibkr.login import GatewayLogin
from greeks_trio.simulators.ibkr.stream import Ending, IbkrStream

# Longer than a stream waits for its client after it has sent a close frame.
_STOP_LIMIT_S: Final = 15.0


class IbkrClients:
    """The open WebSockets.

    Attributes:
        count: The number of WebSockets accepted so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._streams: set[IbkrStream] = set()
        self._changed = trio.Event()

    @property
    def streams(self) -> frozenset[IbkrStream]:
        """The open WebSockets."""
        return frozenset(self._streams)

    @contextmanager
    def serving(self, stream: IbkrStream) -> Iterator[None]:
        """Keep a WebSocket in the list of clients during the block."""
        self._streams.add(stream)
        self.count += 1
        try:
            yield
        finally:
            self._streams.discard(stream)
            self.note_change()

    def of(self, login: GatewayLogin | None) -> frozenset[IbkrStream]:
        """Return the open WebSockets of one gateway, or of all of them."""
        return frozenset(each for each in self._streams if login in (None, each.login))

    def tell(self, *frames: bytes, login: GatewayLogin | None = None) -> None:
        """Send frames to every WebSocket of one gateway, or of all of them."""
        for each in self.of(login):
            each.tell(*frames)

    def end_subscriptions(self, login: GatewayLogin | None = None) -> None:
        """End every subscription silently, as each one ends by itself after its time."""
        for each in self.of(login):
            each.lines.end_all()

    async def end(self, how: Ending, close_with: tuple[int, str] | None = None) -> None:
        """End every WebSocket, and return when they are closed."""
        ending = set(self._streams)
        for each in ending:
            each.end(how, close_with)
        with trio.move_on_after(_STOP_LIMIT_S):
            while ending & self._streams:
                await self.wait_changed()

    def note_change(self) -> None:
        """Wake every task that waits for a change."""
        self._changed.set()
        self._changed = trio.Event()

    async def wait_changed(self) -> None:
        """Return when a client has connected, left, or changed its subscriptions."""
        await self._changed.wait()
