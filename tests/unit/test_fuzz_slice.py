"""A slice of the long campaign of `tests.fuzz.campaign`, and what that is worth."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest

from greeks_trio.brokers.ibkr.wire.protocol import IbkrProtocol
from greeks_trio.feeds.health import FeedHealth
from tests.factories import START, make_record
from tests.fuzz.campaign import PROTOCOLS, run_campaign
from tests.fuzz.tick_rules import WrongTick, check_tick

FRAMES = 3_000


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_frame_upsets_the_feed_or_what_it_remembers(protocol):
    outcome = run_campaign(protocol, FRAMES, seed=1)

    assert outcome.frames == FRAMES
    assert outcome.good > FRAMES / 10
    assert outcome.counts["odd.not-json"] > FRAMES / 10


def test_a_seed_names_the_same_frames_each_time():
    first, second = (run_campaign("dxlink", 500, seed=7) for _ in range(2))

    assert (first.ticks, first.kinds) == (second.ticks, second.kinds)
    assert first.counts == second.counts


def test_a_crash_names_its_frame(monkeypatch, capsys):
    def crash(_self, frame, _received_ms=None):
        if len(frame) > 400:
            raise KeyError("a bug")
        return []

    monkeypatch.setattr(IbkrProtocol, "receive_frame", crash)
    with pytest.raises((KeyError, WrongTick)):
        run_campaign("ibkr", FRAMES, seed=1)

    assert capsys.readouterr().err.startswith("seed 1 index ")


def test_a_feed_that_forgets_is_noticed(monkeypatch):
    remembered = IbkrProtocol.receive_frame

    def forget_now_and_then(self, frame, received_ms=None):
        if received_ms % 50 == 0:
            self.__init__()
        return remembered(self, frame, received_ms)

    monkeypatch.setattr(IbkrProtocol, "receive_frame", forget_now_and_then)
    with pytest.raises(WrongTick, match="instead of"):
        run_campaign("ibkr", FRAMES, seed=1)


def test_a_frame_that_is_not_counted_is_noticed(monkeypatch):
    monkeypatch.setattr(FeedHealth, "odd_frame", lambda *_: None)
    with pytest.raises(WrongTick, match="not counted"):
        run_campaign("ibkr", FRAMES, seed=1)


@pytest.mark.parametrize(
    "changes",
    [
        {"delta": math.nan},
        {"gamma": 1},
        {"delta": -2.0},
        {"vega": 2147483647.0},
        {"implied_volatility": -1.0},
        {"underlying_price": -1.0},
        {"underlying_price_at": datetime(1970, 1, 1, tzinfo=UTC)},
        {"underlying_price": None, "underlying_price_at": START},
        {"price": -1.0},
        {"bid": math.inf},
        {"ask": 0.0},
        dict.fromkeys(("delta", "gamma", "theta", "vega", "rho")),
        {"event_time": datetime(1999, 12, 31, tzinfo=UTC)},
        {"source_payload": b'{"a":NaN}'},
        {"source_payload": b'{"a":"\\u0000"}'},
        {"source_payload": b"[]"},
    ],
)
def test_a_tick_that_must_not_be_is_noticed(changes):
    with pytest.raises(WrongTick):
        check_tick(make_record(**({"received_at": START} | changes)), START)
