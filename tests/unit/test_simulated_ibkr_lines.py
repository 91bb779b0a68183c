"""The simulated gateway's subscriptions, with the time in the test's hands."""

from __future__ import annotations

import re
import time
from datetime import date
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeks_trio.simulators.book.book import Imperfections
from greeks_trio.simulators.book.textbook import textbook_market
from greeks_trio.simulators.ibkr.lines import IbkrLines
from greeks_trio.simulators.ibkr.state import IbkrSettings, IbkrState
from greeks_trio.simulators.ibkr.topics import (
    Echo,
    KeepAlive,
    Quiet,
    Subscribe,
    SubscribeCombination,
    Unknown,
    Unsubscribe,
    encode_beside_heartbeat,
    parse_request,
)
from greeks_trio.simulators.ledger import Ledger, read_ledger
from greeks_trio.simulators.market import BEAT_S

GREEKS = {"7308", "7309", "7310", "7311", "7633"}
LONG_AFTER = 3.0  # every contract is warm by then


class Bench:
    def __init__(self, path, contracts=1, **settings):
        self.path = path
        market = textbook_market(contracts=contracts, seed=2, today=date(2026, 3, 2))
        settings = IbkrSettings(**{"rate": 1.0, **settings})
        self.ledger = Ledger(path)
        self.state = IbkrState(market, market.options, self.ledger, settings, Random(4))
        self.lines = self.open_lines()
        self.conids = [option.conid for option in market.options]

    def open_lines(self):
        """Return the lines of a new client."""
        return IbkrLines(self.state, self.ledger.deliveries.open("ibkr", None))

    def subscribe(self, fields=GREEKS, now=0.0):
        return [
            frame
            for conid in self.conids
            for frame in decode(self.lines.subscribe(str(conid), set(fields), now))
        ]

    def due(self, now):
        return decode(self.lines.due(now))

    def ticks(self, count, now):
        return decode(self.lines.ticks(count, now))


def decode(frames):
    return [msgspec.json.decode(frame) for frame in frames]


@pytest.fixture
def bench(tmp_path):
    def make(**settings):
        return Bench(tmp_path / "ledger", **settings)

    return make


def test_every_contract_has_greeks_after_a_while(bench):
    bench = bench(contracts=100)

    frames = bench.subscribe() + bench.due(LONG_AFTER)

    assert {f["conid"] for f in frames if "7308" in f} == set(bench.conids)


def test_contracts_take_turns(bench):
    bench = bench(contracts=20)
    bench.subscribe()
    bench.due(LONG_AFTER)

    frames = [f for f in bench.ticks(200, LONG_AFTER) if GREEKS & set(f)]

    assert len(frames) == 200
    assert [f["conid"] for f in frames[:20]] == [f["conid"] for f in frames[20:40]]
    assert {f["conid"] for f in frames} == set(bench.conids)


def test_each_tick_is_in_the_ledger_with_a_time_of_its_own(bench):
    """Hundreds of ticks of one contract fall into one millisecond here."""
    bench = bench()
    bench.subscribe()
    bench.due(LONG_AFTER)
    before = bench.ledger.ticks

    frames = [f for f in bench.ticks(500, LONG_AFTER) if GREEKS & set(f)]

    written = [tick.event_time_ms for tick in read_ledger(bench.path)]
    assert [f["_updated"] for f in frames] == written[before:]
    assert written == sorted(set(written))


@pytest.mark.parametrize(
    "fields", [{"7308"}, {"7310"}, {"7308", "84"}, {"7633", "7309"}]
)
def test_every_tick_changes_something_whatever_was_asked(bench, fields):
    bench = bench()
    bench.subscribe(fields)
    bench.due(LONG_AFTER)

    frames = bench.ticks(50, LONG_AFTER)

    assert sum(bool(GREEKS & set(f)) for f in frames) == 50
    assert all(GREEKS & set(f) <= fields for f in frames)


def test_implied_volatility_alone_is_no_tick(bench):
    bench = bench()

    frames = bench.subscribe({"7633"}) + bench.due(LONG_AFTER)

    assert any("7633" in f for f in frames)
    assert not bench.lines.has_ticking
    assert bench.ledger.ticks == 0


def test_a_doubled_first_frame_is_one_tick(bench):
    bench = bench(contracts=100)

    frames = [f for f in bench.subscribe() if "7308" in f]

    assert len(frames) > 20
    assert bench.ledger.ticks == len(frames) / 2


def test_a_subscription_that_ended_before_it_was_warm_stays_silent(bench):
    bench = bench(contracts=100, stream_end_s=0.1)
    bench.subscribe()
    ticks = bench.ledger.ticks

    assert bench.due(LONG_AFTER) == []
    assert bench.ticks(10, LONG_AFTER) == []
    assert bench.ledger.ticks == ticks


def test_a_subscription_falls_silent_at_its_end_and_not_before(bench):
    bench = bench(stream_end_s=900.0)
    bench.subscribe()
    bench.due(LONG_AFTER)

    assert bench.ticks(1, 899.9)
    assert bench.ticks(1, 900.0) == []
    assert bench.subscribe(now=900.1)


def test_a_renewal_keeps_the_subscription_and_adds_fields(bench):
    bench = bench(stream_end_s=900.0)
    bench.subscribe({"7308"})
    bench.due(LONG_AFTER)

    [frame, _] = bench.subscribe({"7309"}, now=540.0)

    assert {"7308", "7309"} <= set(frame)
    assert frame["server_id"] == "q1"
    assert bench.ticks(1, 1439.9)
    assert bench.ticks(1, 1440.0) == []


def test_after_an_unsubscription_everything_begins_anew(bench):
    """The ledger has the memory of a reader that forgets the lines it gave up."""
    bench = bench(contracts=100)
    bench.subscribe()
    bench.due(LONG_AFTER)
    for conid in bench.conids:
        bench.lines.unsubscribe(str(conid))
    written = bench.ledger.ticks

    frames = bench.subscribe(now=4.0) + bench.due(8.0) + bench.ticks(200, 8.0)

    known = {conid: {} for conid in bench.conids}
    expected = {}
    for frame in frames:
        known[frame["conid"]] |= {name: frame[name] for name in GREEKS & set(frame)}
        if GREEKS & set(frame):
            key = bench.state.options[frame["conid"]].contract.contract_key
            theta = known[frame["conid"]].get("7310")
            expected[key, frame["_updated"]] = None if theta is None else float(theta)
    ticks = list(read_ledger(bench.path))[written:]
    assert {(t.contract_key, t.event_time_ms): t.theta for t in ticks} == expected
    assert None in expected.values()


def test_a_line_is_free_again_when_its_subscription_has_ended(bench):
    bench = bench(contracts=2, line_limit=1, stream_end_s=10.0)
    first, second = map(str, bench.conids)

    assert bench.lines.subscribe(first, {"7308"}, 0.0)
    assert bench.lines.subscribe(second, {"7308"}, 9.9) == []
    assert bench.lines.subscribe(second, {"7308"}, 10.0)


def test_a_line_outlives_the_connection_that_asked_for_it(bench):
    bench = bench(contracts=2, line_limit=1)
    first, second = map(str, bench.conids)
    bench.lines.subscribe(first, {"7308"}, 0.0)

    again = bench.open_lines()

    assert again.subscribe(second, {"7308"}, 1.0) == []
    assert again.subscribe(first, {"7308"}, 1.0)


def test_prices_of_an_underlying_come_twice_a_second(bench):
    bench = bench()
    underlying = bench.state.market.underlyings[0]
    bench.lines.subscribe(str(underlying.conid), {"31", "84", "86"}, 0.0)

    bench.due(0.0)
    underlying.price += 1.0
    [frame] = bench.due(BEAT_S)

    assert bench.due(BEAT_S * 1.5) == []
    assert bench.lines.next_at == BEAT_S * 2
    assert frame["31"].lstrip("H") == f"{underlying.price:.2f}"
    assert bench.ledger.ticks == 0


def test_a_tick_has_the_prices_of_one_moment(bench):
    """Otherwise no Greek explains the change of the price from tick to tick."""
    bench = bench(contracts=8)
    market = bench.state.market
    first = bench.subscribe(GREEKS | {"7635"})
    for each in market.underlyings:
        first += decode(bench.lines.subscribe(str(each.conid), {"84", "86"}, 0.0))
    first += bench.due(LONG_AFTER)
    known, moved = {}, set()
    for number in range(100):
        now = LONG_AFTER + 0.1 * number
        frames = first + bench.due(now) + bench.ticks(1, now)
        first = []
        for frame in frames:
            known.setdefault(frame["conid"], {}).update(frame)
        option = bench.state.find(frames[-1]["conid"])
        if now < LONG_AFTER + 1.0 or "7308" not in frames[-1]:
            continue
        quote = known[option.underlying.conid]
        middle = (float(quote["84"]) + float(quote["86"])) / 2

        assert middle == pytest.approx(option.underlying.price, abs=0.0051)
        price = market.price(option, market.greeks(option))
        assert float(known[option.conid]["7635"]) == pytest.approx(price, abs=0.0051)
        moved.add(middle)
    assert len(moved) > 10


def test_a_last_price_may_be_the_close_or_say_that_trading_is_halted(bench):
    bench = bench()
    first, later = [], []
    for underlying in bench.state.market.underlyings:
        first += decode(bench.lines.subscribe(str(underlying.conid), {"31"}, 0.0))
    for number in range(100):
        bench.state.market.move(bench.state.market.underlyings[number % 8])
        later += bench.due(number * 1.0)

    assert {f["31"][0] for f in first} >= {"C", "6"}
    assert any(f["31"].startswith("H") for f in later)


def test_a_watched_contract_belongs_to_no_account(bench):
    bench = bench()
    bench.state.positions.clear()

    bench.subscribe()
    bench.due(LONG_AFTER)
    bench.ticks(1, LONG_AFTER)

    assert {tick.account_id for tick in read_ledger(bench.path)} == {"watchlist"}


def test_times_do_not_run_far_ahead_of_the_clock(bench):
    """A client takes a time of minutes ahead for an error."""
    bench = bench()
    bench.subscribe()
    bench.due(LONG_AFTER)

    frames = bench.ticks(10_000, LONG_AFTER)

    now_ms = time.time_ns() // 1_000_000
    assert len(frames) > 1_000
    assert all(frame["_updated"] <= now_ms + 2_500 for frame in frames)
    assert bench.lines.has_ticking


async def test_in_a_late_pair_the_ledger_follows_the_order_of_the_frames(bench):
    bench = bench()
    bench.subscribe()
    bench.due(LONG_AFTER)
    written = bench.ledger.ticks

    with bench.state.conditions.holding("reorder", 1.0):
        [newer, older] = bench.ticks(2, LONG_AFTER)

    ticks = list(read_ledger(bench.path))[written:]
    assert newer["_updated"] > older["_updated"]
    assert [tick.event_time_ms for tick in ticks] == [
        newer["_updated"],
        older["_updated"],
    ]
    # The late row has nothing that only the newer frame told.
    told = {"7308": "delta", "7309": "gamma", "7310": "theta", "7311": "vega"}
    for name, greek in told.items():
        if name in newer and name not in older:
            assert getattr(ticks[1], greek) is None


async def test_lines_of_a_closed_market_wait_for_its_opening(bench):
    bench = bench(contracts=50)
    with bench.state.conditions.holding("market-closed", 1.0):
        first = bench.subscribe()
        bench.due(LONG_AFTER)
        again = bench.subscribe(now=1.0)
        assert bench.lines.next_at == float("inf")

    opened = bench.due(LONG_AFTER)

    greeks = [{k: f[k] for k in GREEKS & set(f)} for f in first]
    assert greeks == [{k: f[k] for k in GREEKS & set(f)} for f in again]
    assert {f["6509"][0] for f in first} == {"Z"}
    assert {f["conid"] for f in opened} == set(bench.conids)


def test_a_few_contracts_are_always_delayed_if_the_book_says_so(bench):
    flawless = bench(contracts=80)
    assert {flawless.state.grade(conid) for conid in flawless.conids} == {"R"}
    bench = bench(contracts=80, imperfections=Imperfections(delayed_every=40))

    grades = {bench.state.grade(conid) for conid in bench.conids}

    assert grades == {"R", "D"}
    assert sum(bench.state.grade(conid) == "D" for conid in bench.conids) == 2


def test_a_volume_of_ten_million_has_an_exponent(bench):
    bench = bench()
    texts = []
    for now in range(200):
        for underlying in bench.state.market.underlyings:
            conid = str(underlying.conid)
            texts += bench.lines.subscribe(conid, {"87"}, float(now))

    found = {
        re.search(rb'"87_raw":([^,}]+)', text)[1] for text in texts if b"87_raw" in text
    }

    assert any(re.fullmatch(rb"\d\.\d+E7", each) for each in found)
    assert any(re.fullmatch(rb"\d{7}\.0", each) for each in found)


def test_beside_heartbeats_come_wrong_partial_and_broken_frames_now_and_then():
    random = Random(5)

    heard = [encode_beside_heartbeat(0, random, wrong_share=0.01) for _ in range(2_000)]

    frames = [frame for each in heard for frame in each]
    assert 0.03 < len(frames) / len(heard) < 0.15
    assert b'{"topic":"sts","args":{"authenticated":false}}' in frames
    assert b'{"topic":"sts","args":{"message":""}}' in frames
    assert any(b"\x99" in frame for frame in frames)
    assert not any(frame.isascii() for frame in frames if b'"ntf"' in frame)


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ('smd+265598+{"fields":["31","84"]}', Subscribe("265598", {"31", "84"})),
        ('smd+1@SMART+{ "fields" : [31] } ', Subscribe("1@SMART", {"31"})),
        ("smd+1+{}", Subscribe("1", set())),
        ("umd+1+{}", Unsubscribe("1")),
        ("smd+1;;;2/-1,3/2+{}", SubscribeCombination("1;;;2/-1,3/2")),
        ("tic", KeepAlive()),
        ("ech+hb", Echo("ech+hb")),
        ("sor+{}", Quiet()),
        ("smd+x+{}", Unknown("smd+x+{}")),
        ("smd+" + "9" * 30 + "+{}", Unknown("smd+" + "9" * 30 + "+{}")),
    ],
)
def test_a_request_is_understood_as_the_gateway_would(text, request_):
    assert parse_request(text) == request_


@given(st.text() | st.from_regex(r"(smd|umd|ech|sor)\+[0-9@;+]*(\{.*\})?"))
def test_no_text_upsets_the_gateway(text):
    parse_request(text)
