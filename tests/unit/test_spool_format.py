"""Blobs of the spool: every value comes back unchanged."""

from __future__ import annotations

import math
from datetime import UTC
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeks_trio.model.account_values import AccountValues, AccountValuesSnapshot
from greeks_trio.model.gap_reasons import GapReason
from greeks_trio.model.records import FeedGap, LeftoverGaps, PositionsSnapshot, Tick
from greeks_trio.spool.format import (
    checksum,
    decode_journal_entry,
    decode_ticks,
    encode_journal_entry,
    encode_ticks,
    from_microseconds,
    to_microseconds,
    verified,
)
from tests.factories import START, make_position, make_record, make_tick

moments = st.datetimes(timezones=st.just(UTC)).map(lambda each: each.replace(fold=0))
# Every character there is, also halves of surrogate pairs.
texts = st.text(st.characters(exclude_categories=()))
doubles = st.none() | st.floats()
decimals = st.none() | st.decimals(allow_nan=False)
ticks = st.builds(
    Tick,
    st.fixed_dictionaries(
        {
            "broker": st.sampled_from(["ibkr", "tastytrade"]),
            "account_id": texts,
            "underlying": texts,
            "contract_key": texts,
            "event_time": moments,
            "received_at": moments,
            "expiration": st.none() | st.dates(),
            "strike": decimals,
            "option_type": st.sampled_from(["call", "put", None]),
            "quantity": decimals,
            "delta": doubles,
            "rho": doubles,
            "implied_volatility": doubles,
            "underlying_price": doubles,
            "availability": st.sampled_from(["realtime", "unknown"]),
            "source_payload": st.binary(),
        }
    ).map(lambda changes: make_record(**changes)),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(0, 1e9),
)


def spelled(tick):
    """Return all that a tick holds, so that NaN and -0.0 can be compared."""
    return repr(msgspec.structs.replace(tick, read_at=0.0))


@given(st.lists(ticks, max_size=5))
def test_every_tick_comes_back_as_it_was_without_its_monotonic_time(originals):
    found = decode_ticks(encode_ticks(originals))

    assert [spelled(tick) for tick in found] == [spelled(tick) for tick in originals]
    assert all(tick.read_at == 0.0 for tick in found)


def test_many_ticks_take_a_fraction_of_their_size():
    many = [make_tick(n) for n in range(1000)]

    blob = encode_ticks(many)

    assert decode_ticks(blob) == many
    assert len(blob) < 100 * len(many)
    plain = encode_ticks(many, compress=False)
    assert decode_ticks(plain) == many
    assert len(plain) > 200 * len(many)


@given(texts)
def test_every_journal_entry_comes_back_as_it_was(account_id):
    entries = [
        FeedGap(
            broker="ibkr",
            started_at=START,
            reason=GapReason.KILLED,
            account_id=account_id,
        ),
        AccountValuesSnapshot(
            broker="ibkr",
            rows=(
                AccountValues(
                    broker="ibkr",
                    account_id=account_id,
                    observed_at=START,
                    cash=Decimal("-12.50"),
                ),
            ),
        ),
        LeftoverGaps(broker="tastytrade", own=((None, START),), ended_at=START),
        PositionsSnapshot(
            broker="ibkr",
            account_ids=("U1", account_id),
            positions=(make_position(), make_position(0)),
            observed_at=START,
        ),
    ]

    back = [decode_journal_entry(*encode_journal_entry(entry)) for entry in entries]

    assert back == entries


def test_fields_that_a_later_version_adds_do_not_disturb():
    blob = encode_ticks([make_tick()])
    entry = msgspec.msgpack.decode(blob[1:])
    entry["ticks"][0]["record"]["speed"] = 1.5
    entry["written_by"] = "a later version"

    assert decode_ticks(blob[:1] + msgspec.msgpack.encode(entry)) == [make_tick()]


@given(st.binary())
def test_no_bytes_are_worse_than_a_value_error(blob):
    for content in (blob, b"m" + blob, b"z" + blob, b"j" + blob):
        with pytest.raises(ValueError, match=r"(?s)."):
            decode_ticks(content)


def test_a_journal_entry_of_an_unknown_kind_is_a_value_error():
    with pytest.raises(ValueError, match="trade"):
        decode_journal_entry("trade", b"m")


def test_a_blob_with_a_flipped_bit_is_not_what_was_written():
    blob = encode_ticks([make_tick()])
    flipped = bytes([blob[0], blob[1] ^ 1, *blob[2:]])

    with pytest.raises(ValueError, match="checksum"):
        verified(flipped, checksum(blob))


@given(moments)
def test_moments_come_back_to_the_microsecond(moment):
    assert from_microseconds(to_microseconds(moment)) == moment


def test_infinite_and_missing_greeks_come_back():
    tick = make_tick(delta=math.inf, gamma=None)

    assert decode_ticks(encode_ticks([tick])) == [tick]
