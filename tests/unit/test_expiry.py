from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.expiry import exchange_day, expiration_of, has_expired

FRIDAY = date(2026, 12, 18)


@pytest.mark.parametrize(
    ("now", "expired"),
    [
        (datetime(2026, 12, 18, 22, 0, tzinfo=UTC), False),
        (datetime(2026, 12, 19, 5, 59, tzinfo=UTC), False),  # 23:59 in Chicago
        (datetime(2026, 12, 19, 6, 0, tzinfo=UTC), True),
        (datetime(2027, 1, 4, 15, 0, tzinfo=UTC), True),
    ],
)
def test_a_contract_lives_until_the_end_of_its_last_day(now, expired):
    assert has_expired(FRIDAY, exchange_day(now)) is expired


def test_a_contract_without_a_last_day_does_not_expire():
    assert has_expired(None, date(2099, 1, 1)) is False


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("SPY   261218C00600000", FRIDAY),
        ("./E2D 261218C6040", FRIDAY),
        ("./LO  261218P-5", FRIDAY),
        ("ibkr:702", None),
        ("tastytrade:BTC/USD", None),
        ("RY:CAD", None),
    ],
)
def test_the_expiration_is_read_from_the_key(key, expected):
    assert expiration_of(ContractKey(key)) == expected
