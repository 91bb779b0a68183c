"""The websockets to Tastytrade: how they are opened, and their limits."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final
from urllib.parse import urlsplit

from greeks_trio.config.addresses import require_private
from greeks_trio.feeds.websocket import Endpoint, WebSocket, open_websocket

QUOTE_SERVER: Final = "the quote server"
ACCOUNT_STREAMER: Final = "the account streamer"
# A connection may have 25,000 instruments.  Their first events come in a burst of about
# 5 MiB.
MAX_FRAME_BYTES: Final = 64 * 2**20
# Tastytrade refuses requests without the name of a product.
USER_AGENT: Final = b"greeks-trio/0.1.0"

OpenSocket = Callable[[str, str], AbstractAsyncContextManager[WebSocket]]


def open_socket(url: str, peer: str) -> AbstractAsyncContextManager[WebSocket]:
    """Open a websocket; the system's certificates verify TLS.  See `open_websocket`.

    Args:
        url: The address.
        peer: The name of the server in messages.

    Raises:
        FeedInterrupted: The address is not encrypted.
    """
    require_private(url, what=f"the address of {peer}")
    is_secure = urlsplit(url).scheme == "wss"
    return open_websocket(
        Endpoint(
            url=url,
            peer=peer,
            tls=ssl.create_default_context() if is_secure else None,
            headers=[(b"User-Agent", USER_AGENT)],
            max_frame_bytes=MAX_FRAME_BYTES,
        )
    )
