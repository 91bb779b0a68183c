"""Keeps the subscriptions equal to the wanted contracts, also after a refusal.

The server refuses a request that is too large or too fast with an ERROR.  It does not
name the contracts, and they bring nothing.  So everything is requested again, ever more
slowly.  Until a minute has passed without a refusal, only contracts with a tick count as
subscribed.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NoReturn

import trio

from greeks_trio.brokers.tastytrade.handshake import GREEKS_CHANNEL, PRICES_CHANNEL
from greeks_trio.brokers.tastytrade.positions.positions import WantedContract
from greeks_trio.brokers.tastytrade.positions.wanted import WantedContracts
from greeks_trio.brokers.tastytrade.wire import requests
from greeks_trio.brokers.tastytrade.wire.requests import Subscription
from greeks_trio.feeds.contract_gaps import ContractGaps
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.shortfalls import Shortfalls
from greeks_trio.model.contracts import ContractKey, StreamerSymbol
from greeks_trio.model.gap_reasons import GapReason
from greeks_trio.waiting import Backoff

logger = logging.getLogger(__name__)

# Requests that follow each other at once are refused as too high a rate.  How fast is
# too fast depends on the server's load, so each refusal doubles the distance.
SUBSCRIBE_PAUSE_S: Final = 0.25
MAX_SUBSCRIBE_PAUSE_S: Final = 2.0
# A refusal comes within a second; this long without one means that all was taken.
QUIET_LIMIT_S: Final = 60.0
# At most this many contracts without data get a gap of their own.
MAX_GAPS: Final = 200
_REFUSALS: Final = "subscriptions"


class SubscriptionSender:
    """Subscribes, and repeats refused requests.

    Args:
        send: Sends one frame.
        request_bytes: The longest request.
    """

    def __init__(
        self,
        contracts: WantedContracts,
        health: FeedHealth,
        shortfalls: Shortfalls,
        send: Callable[[str], Awaitable[None]],
        request_bytes: int = requests.MAX_REQUEST_BYTES,
    ) -> None:
        self._contracts = contracts
        self._health = health
        self._shortfalls = shortfalls
        self._send = send
        self._request_bytes = request_bytes
        # Requests keep their order and their distance.
        self._sending = trio.Lock()
        self._pause_s = SUBSCRIBE_PAUSE_S
        self._wanted = 0
        self._keys: dict[StreamerSymbol, ContractKey] = {}
        self._heard: set[StreamerSymbol] = set()
        self._refused = trio.Event()
        # From a refusal to the end of the quiet minute.
        self._in_doubt = False
        self._gaps = ContractGaps(health.gaps)

    async def apply(self, wanted: Mapping[ContractKey, WantedContract | None]) -> None:
        """Stream these contracts from here on; those that stay miss nothing.

        `None` is a wanted contract with an unknown streamer symbol.
        """
        known = {key: each for key, each in wanted.items() if each is not None}
        async with self._sending:
            changes = self._contracts.replace(known)
            self._wanted = len(wanted)
            self._keys = {each.symbol: key for key, each in known.items()}
            self._heard &= self._keys.keys()
            self._gaps.keep(known)
            exchanges = {key: each.contract.exchange for key, each in known.items()}
            self._health.contracts_streamed(known, exchanges)
            frames = self._encode(remove=changes.remove)
            await self._send_paced(frames + self._encode(add=changes.add))
            self._show()

    def heard(self, symbol: StreamerSymbol) -> None:
        """Note that the contract has brought Greeks."""
        if symbol in self._heard or symbol not in self._keys:
            return
        self._heard.add(symbol)
        self._gaps.end([self._keys[symbol]])
        if self._in_doubt:
            self._show()

    def refused(self, reason: str) -> None:
        """Note that the server refused a request; ``reason`` in its words."""
        self._in_doubt = True
        self._shortfalls.add(_REFUSALS, f"subscriptions refused: {reason}")
        mute = [key for symbol, key in self._keys.items() if symbol not in self._heard]
        why = (GapReason.SUBSCRIPTION_REFUSED, 0.0)
        self._gaps.start(dict.fromkeys(mute[: MAX_GAPS - len(self._gaps)], why))
        self._show()
        self._refused.set()

    async def run(self) -> NoReturn:
        """Request everything again after a refusal, ever more slowly, until cancelled.

        At the end it ends the gaps: the gap of the feed takes their place.
        """
        backoff = Backoff(min_delay_s=2.0, max_delay_s=300.0)
        try:
            while True:
                await self._refused.wait()
                await backoff.wait()
                await self._ask_again()
                with trio.move_on_after(QUIET_LIMIT_S):
                    await self._refused.wait()
                    continue
                backoff.reset()
                self._all_taken()
        finally:
            self._gaps.end_all()

    async def _ask_again(self) -> None:
        self._refused = trio.Event()
        self._pause_s = min(2.0 * self._pause_s, MAX_SUBSCRIBE_PAUSE_S)
        async with self._sending:
            await self._send_paced(self._encode(add=self._contracts.subscriptions))

    def _all_taken(self) -> None:
        self._pause_s = SUBSCRIBE_PAUSE_S
        self._in_doubt = False
        self._gaps.end_all()
        self._show()
        self._shortfalls.clear(_REFUSALS)

    def _show(self) -> None:
        subscribed = len(self._heard if self._in_doubt else self._keys)
        self._health.subscriptions(wanted=self._wanted, subscription_count=subscribed)

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
