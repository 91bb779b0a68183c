"""Which hosts belong to this machine."""

from __future__ import annotations

import pytest

from greeks_trio.config.addresses import is_loopback


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("LOCALHOST", True),
        ("a.localhost", False),
        ("127.0.0.1.example", False),
        ("gateway.example", False),
        ("10.0.0.5", False),
        (None, False),
    ],
)
def test_loopback_is_known_by_name_and_address(host, expected):
    assert is_loopback(host) is expected
