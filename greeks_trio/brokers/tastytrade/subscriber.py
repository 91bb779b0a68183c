"""Keeps the subscriptions equal to the wanted contracts, also after a refusal.

The server refuses a request that is too large or too fast with an ERROR.  It does not
name the contracts, and they bring nothing.  So everything is requested again, ever more
slowly.  Until a minute has passed without a refusal, only contracts with an event count
as subscribed.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NoReturn

import trio

from greeks_trio.brokers.tastytrade.handshake import GREEKS_CHANNEL, PRICES_CHANNEL
from greeks_trio.brokers.tastytrade.positions.positions import WantedContract
from greeks_trio.brokers.tastytrade.positions.wanted import WantedContracts
from greeks_trio.brokers.tastytrade.shortfalls import StreamReport
from greeks_trio.brokers.tastytrade.wire import requests
from greeks_trio.brokers.tastytrade.wire.requests import Subscription
from greeks_trio.feeds.stream_report import gather_time
from greeks_trio.model.contracts import ContractKey, StreamerSymbol
from greeks_trio.waiting import Backoff

logger = logging.getLogger(__name__)

# Requests that follow each other at once are refused as too high a rate.  How fast is
# too fast depends on the server's load, so each refusal doubles the distance.
SUBSCRIBE_PAUSE_S: Final = 0.25
MAX_SUBSCRIBE_PAUSE_S: Final = 2.0
# A refusal comes within a second; this long without one means that all was taken.
QUIET_LIMIT_S: Final = 60.0
# No event tells of a deadline or a silence; they are looked for this often.
CHECK_INTERVAL_S: Final = 15.0


class SubscriptionSender:
    """Subscribes, and repeats refused requests.

    Args:
        send: Sends one frame.
        request_bytes: The longest request.
    """

    def __init__(
        self,
        contracts: WantedContracts,
        report: StreamReport,
        send: Callable[[str], Awaitable[None]],
        request_bytes: int = requests.MAX_REQUEST_BYTES,
    ) -> None:
        self._contracts = contracts
        self._report = report
        self._send = send
        self._request_bytes = request_bytes
        # Requests keep their order and their distance.
        self._sending = trio.Lock()
        self._pause_s = SUBSCRIBE_PAUSE_S
        self._refused = trio.Event()

    async def apply(self, wanted: Mapping[ContractKey, WantedContract | None]) -> None:
        """Stream these contracts from here on; those that stay miss nothing.

        `None` is a wanted contract with an unknown streamer symbol.
        """
        known = {key: each for key, each in wanted.items() if each is not None}
        async with self._sending:
            changes = self._contracts.replace(known)
            self._report.want(wanted)
            self._report.requested(
                each.symbol for each in changes.add if each.type == "Greeks"
            )
            frames = self._encode(remove=changes.remove)
            await self._send_paced(frames + self._encode(add=changes.add))
            self._report.update()

    def refused(self, reason: str) -> None:
        """Note that the server refused a request; ``reason`` in its words."""
        self._report.refused(reason)
        self._refused.set()

    async def run(self) -> NoReturn:
        """Request everything again after a refusal, ever more slowly, until cancelled."""
        backoff = Backoff(min_delay_s=2.0, max_delay_s=300.0)
        while True:
            await self._refused.wait()
            await backoff.wait()
            await self._ask_again()
            with trio.move_on_after(QUIET_LIMIT_S):
                await self._refused.wait()
                continue
            backoff.reset()
            self._pause_s = SUBSCRIBE_PAUSE_S
            self._report.taken()

    async def run_report(self) -> NoReturn:
        """Report after each change, and look for silent contracts; until cancelled."""
        gather_s = gather_time(0.0)
        while True:
            with trio.move_on_after(CHECK_INTERVAL_S):
                await self._report.wait_changed()
                await trio.sleep(gather_s)
            silent = self._report.take_silent()
            if silent:
                await self._ask_again_for(silent)
            began_at = trio.current_time()
            self._report.update()
            gather_s = gather_time(trio.current_time() - began_at)

    async def _ask_again(self) -> None:
        self._refused = trio.Event()
        self._pause_s = min(2.0 * self._pause_s, MAX_SUBSCRIBE_PAUSE_S)
        async with self._sending:
            await self._send_paced(self._encode(add=self._contracts.subscriptions))

    async def _ask_again_for(self, symbols: Sequence[StreamerSymbol]) -> None:
        async with self._sending:
            add = tuple(Subscription("Greeks", each) for each in symbols)
            self._report.requested(symbols)
            await self._send_paced(self._encode(add=add))

    def _encode(self, **changes: tuple[Subscription, ...]) -> list[str]:
        """Return the frames for each channel, those of the prices first."""
        frames: list[str] = []
        for channel in (PRICES_CHANNEL, GREEKS_CHANNEL):
            mine = {
                name: [each for each in entries if channel_of(each) == channel]
                for name, entries in changes.items()
            }
            frames += requests.encode_subscription(
                channel,
                add=mine.get("add", ()),
                remove=mine.get("remove", ()),
                max_bytes=self._request_bytes,
            )
        return frames

    async def _send_paced(self, frames: list[str]) -> None:
        for number, frame in enumerate(frames):
            if number:
                await trio.sleep(self._pause_s)
            await self._send(frame)


def channel_of(entry: Subscription) -> int:
    """Return the channel on which the entry is subscribed."""
    return GREEKS_CHANNEL if entry.type == "Greeks" else PRICES_CHANNEL
