"""The websocket of the gateway's stream: its address, its cookie and its limits."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

from greeks_trio.config.settings import IbkrConfig
from greeks_trio.feeds.tls import make_ssl_context
from greeks_trio.feeds.websocket import Endpoint, WebSocket, open_websocket

GATEWAY: Final = "the IBKR gateway"
# Frames have a few hundred bytes; the largest are bulletins and ledgers.
_MAX_FRAME_BYTES: Final = 8 * 2**20

OpenSocket = Callable[[IbkrConfig, str], AbstractAsyncContextManager[WebSocket]]


def open_socket(
    config: IbkrConfig, session_id: str
) -> AbstractAsyncContextManager[WebSocket]:
    """Open the websocket with the session in its cookie; see `open_websocket`.

    Raises:
        FeedInterrupted: The file with certificates cannot be used.
    """
    cookie = f'api={{"session":"{session_id}"}}'
    return open_websocket(
        Endpoint(
            url=config.ws_url,
            peer=GATEWAY,
            tls=make_ssl_context(config.ws_url, config.ca_file, setting="IBKR_CA_FILE"),
            headers=[(b"Cookie", cookie.encode())],
            max_frame_bytes=_MAX_FRAME_BYTES,
            certificate_hint=" (set IBKR_CA_FILE to the file with the certificate to trust)",
        )
    )
