"""Which servers are trusted, over real sockets, so with the real clock."""

from __future__ import annotations

import pytest
import trustme

from greeks_trio.brokers.tastytrade.socket import QUOTE_SERVER, open_socket
from greeks_trio.errors import FeedInterrupted
from tests.concurrency.websocket_server import echo, failure_of, serve


async def test_the_upgrade_says_which_product_asks_for_it():
    async with serve(echo) as port:
        async with open_socket(f"ws://127.0.0.1:{port}", QUOTE_SERVER) as socket:
            assert "user-agent: greeks-trio/" in (await socket.receive())[0]


async def test_a_certificate_of_an_unknown_authority_is_refused():
    """Also on this machine: simulated brokers do without TLS."""
    certificate = trustme.CA().issue_cert("localhost")
    async with serve(echo, certificate) as port:
        url = f"wss://localhost:{port}"

        failure = await failure_of(open_socket(url, QUOTE_SERVER))

    assert "CERTIFICATE_VERIFY_FAILED" in str(failure)


async def test_another_machine_is_not_even_tried_without_tls():
    with pytest.raises(FeedInterrupted, match=r"quote server .* is not encrypted"):
        open_socket("ws://quotes.example", QUOTE_SERVER)
