from __future__ import annotations

import pytest

from greeks_trio.config.addresses import is_loopback, require_private
from greeks_trio.errors import FeedInterrupted


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST",
        "LocalHost",
        "127.0.0.1",
        "127.1.2.3",
        "127.255.255.255",
        "::1",
        "0:0:0:0:0:0:0:1",
        "::ffff:127.0.0.1",
    ],
)
def test_this_machine_is_recognised_by_name_and_address(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        # A name server may be asked for these, and may answer with any address.
        "localhost.",
        "a.localhost",
        "a.localhost.",
        "localhost.localdomain",
        "localhost6",
        # Programs read these in different ways.
        "127.1",
        "127.0.1",
        "0127.0.0.1",
        "127.0.0.1.",
        "2130706433",
        "0x7f000001",
        # A host has no brackets; a URL has.
        "[::1]",
        # These are all addresses of this machine, and those of other machines.
        "0.0.0.0",  # noqa: S104
        "::",
        "10.0.0.5",
        "::ffff:10.0.0.5",
        "169.254.0.1",
        "gateway.example",
        "127.0.0.1.evil.com",
        "localhost.evil.com",
        "evil.com#localhost",
        "local host",
        " localhost",
        "localhost\0",
        "\uff11\uff12\uff17.0.0.1",
        "",
        None,
    ],
)
def test_nothing_else_counts_as_this_machine(host):
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.tastyworks.com",
        "wss://quotes.example/realtime",
        "http://127.0.0.1:8080",
        "ws://[::1]:9/x",
        "ws://localhost:9",
    ],
)
def test_a_secret_may_go_over_tls_or_within_this_machine(url):
    assert require_private(url, what="it") == url


@pytest.mark.parametrize(
    "url",
    [
        "http://api.tastyworks.com",
        "ws://127.0.0.1.example:1",
        "ws://10.0.0.1",
        "ftp://localhost",
        "https://",
        "wss://host:notaport",
        "http://[::1",
        "",
    ],
)
def test_secrets_go_nowhere_else(url):
    with pytest.raises(FeedInterrupted, match="it"):
        require_private(url, what="it")
