"""The first exchange of a DXLink connection, up to channels that take subscriptions.

Each request waits for the answer to the one before: a server under load refuses a token
that comes before it asked for one.

There are two channels, because a channel has one aggregation period for all that is on
it.  Greeks are wanted tick by tick: with any period above 0 the server drops all but the
last event of a contract in each period.  Of an underlying only the last price matters,
and a busy one is quoted hundreds of times a second.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from greeks_trio.brokers.tastytrade.wire import requests
from greeks_trio.config.settings import Secret
from greeks_trio.errors import FeedInterrupted

# Clients use odd numbers; 0 is the connection itself.
GREEKS_CHANNEL: Final = 1
PRICES_CHANNEL: Final = 3
# In seconds, by channel; 0 is every event.  A person does not see faster price changes
# than two a second.
AGGREGATION_PERIODS_S: Final = {GREEKS_CHANNEL: 0.0, PRICES_CHANNEL: 0.5}
# From the socket to channels that take subscriptions.
HANDSHAKE_LIMIT_S: Final = 10.0
# The request for a token may be repeated after the token is on its way.  It is refused
# when no AUTHORIZED comes within this time, or when the server hangs up.
REFUSAL_LIMIT_S: Final = 2.0
# The promise of both sides, in whole seconds; the default of the server.
KEEPALIVE_TIMEOUT_S: Final = 60
# More answers than any handshake has; beyond it the server repeats itself for ever.
_MAX_AUTH_STATES: Final = 16


class Handshake:
    """Asks by ``send``; hears through `take_auth_state` and `take_opened`.

    Attributes:
        is_done: The channels take subscriptions.
        token_refused: The token was sent, and the last word on it was UNAUTHORIZED.
    """

    def __init__(self, token: Secret, send: Callable[[str], Awaitable[None]]) -> None:
        self._token = token
        self._send = send
        self._auth_send, self._auth_receive = trio.open_memory_channel[bool](
            _MAX_AUTH_STATES
        )
        self._auth_sent = False
        self._opened = {channel: trio.Event() for channel in AGGREGATION_PERIODS_S}
        self.is_done = False
        self.token_refused = False

    async def run(self) -> None:
        """Send the requests in order; return when the server accepts subscriptions.

        Raises:
            FeedInterrupted: the token was refused or there was no answer in time.
        """
        step = "the greeting"
        try:
            with trio.fail_after(HANDSHAKE_LIMIT_S):
                wants_token = await self._greet()
                step = "the token"
                if wants_token:
                    await self._present_token()
                step = "the request for a channel"
                await self._open_channels()
        except trio.TooSlowError:
            reason = f"the quote server does not answer {step}"
            raise FeedInterrupted(reason) from None
        self.is_done = True

    def take_auth_state(self, *, authorised: bool) -> None:
        """Take the server's answer about the login.

        Raises:
            FeedInterrupted: The server ends the login, or repeats itself for ever.
        """
        if self.is_done:
            if not authorised:
                raise FeedInterrupted("the quote server ended the login")
            return
        self.token_refused = self._auth_sent and not authorised
        try:
            self._auth_send.send_nowait(authorised)
        except trio.WouldBlock:
            raise FeedInterrupted(
                "the quote server asks for the token again and again"
            ) from None

    def take_opened(self, channel: int) -> None:
        """Note that a channel is open."""
        if channel in self._opened:
            self._opened[channel].set()

    async def _greet(self) -> bool:
        """Return whether the server wants a token; it says so at once if it does not."""
        await self._send(
            requests.encode_setup(
                keepalive_timeout_s=KEEPALIVE_TIMEOUT_S,
                accept_keepalive_timeout_s=KEEPALIVE_TIMEOUT_S,
            )
        )
        return not await self._auth_receive.receive()

    async def _present_token(self) -> None:
        self._auth_sent = True
        await self._send(requests.encode_auth(self._token.reveal()))
        if await self._auth_receive.receive():
            return
        with trio.move_on_after(REFUSAL_LIMIT_S):
            while not await self._auth_receive.receive():
                pass
            return
        raise FeedInterrupted("the quote server refused the token")

    async def _open_channels(self) -> None:
        for channel in self._opened:
            await self._send(requests.encode_channel_request(channel))
        for channel, opened in self._opened.items():
            await opened.wait()
            await self._send(encode_setup_of(channel))


def encode_setup_of(channel: int) -> str:
    """Return the frame that sets the format of the channel."""
    return requests.encode_feed_setup(
        channel, aggregation_period_s=AGGREGATION_PERIODS_S[channel]
    )
