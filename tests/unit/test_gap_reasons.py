from __future__ import annotations

import re

import msgspec
import pytest

from greeks_trio.model.gap_reasons import GapReason
from greeks_trio.model.records import FeedGap
from greeks_trio.spool.format import decode_journal_entry, encode_journal_entry
from tests.factories import START

OLD = {
    "ticks-lost": GapReason.TICKS_LOST,
    "no Greeks": GapReason.NO_GREEKS,
    "no market-data line": GapReason.NO_MARKET_DATA_LINE,
}


@pytest.mark.parametrize("reason", GapReason)
def test_every_reason_is_lower_case_words_with_one_sentence(reason):
    assert re.fullmatch(r"[a-z]+( [a-z]+)*", reason)
    assert re.fullmatch(r"[A-Z][^.]+\.", reason.explanation)


@pytest.mark.parametrize("reason", GapReason)
def test_a_gap_on_disk_keeps_its_reason(reason):
    gap = FeedGap(broker="ibkr", started_at=START, reason=reason)

    assert decode_journal_entry(*encode_journal_entry(gap)) == gap


@pytest.mark.parametrize(("old", "new"), OLD.items())
def test_a_gap_that_an_earlier_version_has_spooled_can_be_read(old, new):
    stored = {"broker": "ibkr", "started_at": START, "reason": old}

    gap = decode_journal_entry("gap", b"m" + msgspec.msgpack.encode(stored))

    assert gap.reason is new


def test_an_unknown_reason_is_refused():
    stored = {"broker": "ibkr", "started_at": START, "reason": "boredom"}

    with pytest.raises(ValueError, match="boredom"):
        decode_journal_entry("gap", b"m" + msgspec.msgpack.encode(stored))
