"""Contracts that bring nothing, and how each kind of nothing is told."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import trio

from greeks_trio.brokers.ibkr.subscriber import CHECK_INTERVAL_S
from greeks_trio.feeds.quiet import (
    ASK_AGAIN_S,
    GREEKS_LIMIT_S,
    SILENT_AT_LEAST_S,
)
from greeks_trio.feeds.shortfalls import in_short
from greeks_trio.model.contracts import ContractKey
from tests.concurrency.ibkr_gateway import CONFIG, Scene, T, make_row
from tests.factories import records_of

SPY_600 = ContractKey("SPY   261218C00600000")
SPY_610 = ContractKey("SPY   261218C00610000")
UNDERLYING = 756733
HOUR_S = 3600.0


@pytest.fixture
def scene(nursery):
    """Two options of one underlying, and a pipeline that takes everything."""
    scene = Scene(nursery)
    scene.gateway.positions["U1"] = [make_row(7), make_row(8, 610)]
    nursery.start_soon(drain, scene.frames)
    return scene


async def drain(frames):
    async for _ in frames:
        pass


class Market:
    """Ticks of the conids that are in it, each at a pace of its own."""

    def __init__(self, scene):
        self._scene = scene
        self._nursery = scene.nursery
        self.quiet = set()
        self.at = T

    def start(self, conid, every_s):
        self._nursery.start_soon(self._tick, conid, every_s)

    async def _tick(self, conid, every_s):
        while True:
            if conid not in self.quiet:
                self.at += 500
                fields = {"f31": "668.2"} if conid == UNDERLYING else {"f7308": "0.5"}
                await self._scene.gateway.send_fields(conid, at=self.at, **fields)
            await trio.sleep(every_s)


def pauses(moments):
    return [b - a for a, b in pairwise(moments)]


async def test_a_cold_row_is_an_answer_and_no_greeks(autojump_clock, scene):
    await scene.start_streaming(3)
    await scene.gateway.send_fields(7, f7308="0.5")
    await scene.gateway.send_fields(UNDERLYING, f31="668")
    for _ in range(2):
        await scene.gateway.send_fields(8, f55="-", f31="N/A", f6509="RpB")
    await trio.sleep(GREEKS_LIMIT_S - CHECK_INTERVAL_S)
    assert scene.status == "connected"

    await trio.sleep(3 * CHECK_INTERVAL_S)
    assert scene.status == "degraded"
    assert scene.last_error == f"1 contract without Greeks so far ({SPY_610})"
    assert scene.gaps() == [(SPY_610, "no greeks", False)]
    assert len(scene.gateway.sent("smd+8+")) == 1

    await scene.gateway.send_fields(8, at=T + 1, f7308="0.4")
    await trio.sleep(0.1)
    assert scene.status == "connected"
    assert scene.gaps()[-1] == (SPY_610, "no greeks", True)


async def test_contracts_that_warm_up_are_told_from_those_that_do_not(
    autojump_clock, scene
):
    await scene.start_streaming(3)
    await scene.gateway.send_fields(UNDERLYING, f31="668")
    assert awaited(scene) == (0, 0)
    for conid in (7, 8):
        await scene.gateway.send_fields(conid, f55="-", f31="N/A")
    await trio.sleep(0.1)
    assert awaited(scene) == (2, 0)
    assert scene.status == "connected"

    await scene.gateway.send_fields(7, at=T + 1, f7308="0.5")
    await trio.sleep(0.1)
    assert awaited(scene) == (1, 0)

    await trio.sleep(GREEKS_LIMIT_S + CHECK_INTERVAL_S)
    assert awaited(scene) == (0, 1)

    await scene.gateway.send_fields(8, at=T + 1, f7308="0.4")
    await trio.sleep(0.1)
    assert awaited(scene) == (0, 0)


def awaited(scene):
    """Return how many contracts warm up, and how many have no Greeks at all."""
    statistics = scene.health.statistics()
    return statistics.warming, statistics.without_greeks


async def test_volatility_alone_is_no_greek_either(autojump_clock, scene):
    await scene.start_streaming(3)
    for conid in (7, 8, UNDERLYING):
        await scene.gateway.send_fields(conid, f7633="20%")

    await trio.sleep(GREEKS_LIMIT_S + CHECK_INTERVAL_S)

    assert "2 contracts without Greeks so far" in scene.last_error


async def test_no_answer_at_all_is_told_from_a_cold_one(autojump_clock, scene):
    await scene.start_streaming(3)
    await scene.gateway.send_fields(7, f6509="RpB")
    await scene.gateway.send_fields(UNDERLYING, f31="668")

    await trio.sleep(GREEKS_LIMIT_S + CHECK_INTERVAL_S)

    assert "1 subscription without an answer" in scene.last_error
    assert "1 contract without Greeks so far" in scene.last_error
    assert set(scene.gaps()) == {
        (SPY_600, "no greeks", False),
        (SPY_610, "subscription unanswered", False),
    }


async def test_an_underlying_without_an_answer_is_shown(autojump_clock, scene):
    await scene.start_streaming(3)
    for conid in (7, 8):
        await scene.gateway.send_fields(conid, f7308="0.5")

    await trio.sleep(60)

    assert scene.status == "degraded"
    assert scene.last_error == ("1 underlying without a price (SPY)")
    await scene.gateway.send_fields(UNDERLYING, f31="668")
    await trio.sleep(0.1)
    assert scene.status == "connected"


async def test_a_stream_that_ends_without_a_word_is_asked_for_again(
    autojump_clock, scene
):
    await scene.start_streaming(3)
    market = Market(scene)
    for conid, every_s in ((7, 2), (8, 3), (UNDERLYING, 1)):
        market.start(conid, every_s)
    await trio.sleep(60)
    market.quiet.add(8)
    silent_since, before = trio.current_time(), len(scene.gateway.received)

    [(at, _)] = await scene.gateway.wait_received("smd+8+", since=before)
    await trio.sleep(0.1)
    assert 0 <= at - silent_since - SILENT_AT_LEAST_S < CHECK_INTERVAL_S + 5
    assert scene.last_error == f"1 subscription that has gone silent ({SPY_610})"
    assert scene.gaps() == [(SPY_610, "subscription silent", False)]

    market.quiet.clear()
    await trio.sleep(4)
    assert scene.status == "connected"
    assert scene.gaps()[-1] == (SPY_610, "subscription silent", True)
    gap = scene.journal.recorded[-1]
    assert (gap.ended_at - gap.started_at).total_seconds() >= SILENT_AT_LEAST_S
    assert scene.endings == []


async def test_what_stays_silent_is_asked_for_at_a_calm_pace(autojump_clock, scene):
    await scene.start_streaming(3)
    market = Market(scene)
    for conid in (7, 8, UNDERLYING):
        market.start(conid, 10)
    await trio.sleep(60)
    market.quiet.add(8)

    await trio.sleep(HOUR_S)

    moments = scene.gateway.sent_at("smd+8+")[1:]
    assert min(pauses(moments)) >= ASK_AGAIN_S
    assert len(moments) > 20
    assert len([each for each in scene.gaps() if each[0] == SPY_610]) == 1


async def test_a_quiet_market_is_no_silence(autojump_clock, scene):
    """Heartbeats and underlyings go on after the options' close."""
    await scene.start_streaming(3)
    market = Market(scene)
    for conid in (7, 8, UNDERLYING):
        market.start(conid, 10)
    await trio.sleep(60)
    market.quiet |= {7, 8}

    await trio.sleep(HOUR_S)

    assert scene.status == "connected"
    assert scene.gaps() == []
    # Asked again once, in case it was not the market; then only renewed.
    _, again, *renewals = scene.gateway.sent_at("smd+8+")
    assert again < 60 + SILENT_AT_LEAST_S + 2 * CHECK_INTERVAL_S
    assert scene.counts["subscription.all-quiet"] == 3
    assert min(pauses([again, *renewals])) > 300


async def test_streams_that_end_before_they_tick_are_asked_for_again(
    autojump_clock, scene
):
    await scene.start_streaming(3)

    await trio.sleep(HOUR_S)

    first, again, *_ = scene.gateway.sent_at("smd+8+")
    assert again - first < SILENT_AT_LEAST_S + 2 * CHECK_INTERVAL_S
    assert scene.counts["subscription.all-quiet"] == 3


async def test_a_contract_that_is_always_slow_is_not_silent(autojump_clock, scene):
    await scene.start_streaming(3)
    market = Market(scene)
    for conid, every_s in ((7, 20), (8, 240), (UNDERLYING, 20)):
        market.start(conid, every_s)

    await trio.sleep(2 * HOUR_S)

    assert scene.gaps() == []
    assert "subscription.silent" not in scene.counts


async def test_answers_to_our_own_requests_prove_no_market(autojump_clock, scene):
    """Each contract is asked for at most once when the market falls quiet in turns."""
    await scene.start_streaming(3)
    market = Market(scene)
    for conid in (7, 8, UNDERLYING):
        market.start(conid, 2)
    await trio.sleep(60)
    market.quiet.add(8)
    await trio.sleep(SILENT_AT_LEAST_S)
    market.quiet.add(7)
    scene.nursery.start_soon(answer_requests, scene.gateway)

    await trio.sleep(HOUR_S)

    assert scene.counts["subscription.silent"] == 1
    assert [each[0] for each in scene.gaps()] == [SPY_610, SPY_610]


async def answer_requests(gateway):
    number = len(gateway.received)
    while True:
        [(_, text)] = await gateway.wait_received("smd+", since=number)
        number = len(gateway.received)
        conid = int(text.split("+")[1])
        for _ in range(2):
            await gateway.send_fields(conid, at=T + 10**6, f7308="0.5")


async def test_an_underlying_that_goes_silent_is_asked_for_again(autojump_clock, scene):
    await scene.start_streaming(3)
    market = Market(scene)
    for conid in (7, 8, UNDERLYING):
        market.start(conid, 2)
    await trio.sleep(60)
    market.quiet.add(UNDERLYING)
    before = len(scene.gateway.received)

    [(at, _)] = await scene.gateway.wait_received(f"smd+{UNDERLYING}+", since=before)

    assert at < 60 + SILENT_AT_LEAST_S + CHECK_INTERVAL_S + 5
    assert scene.gaps() == []


async def test_the_number_of_delayed_subscriptions_is_the_present_one(
    autojump_clock, scene
):
    await scene.start_streaming(3)
    for conid in (7, 8):
        await scene.gateway.send_fields(conid, f7308="0.5", f6509="DPB")
    await scene.gateway.send_fields(UNDERLYING, f31="668", f6509="RB")
    await trio.sleep(0.1)
    assert scene.last_error == (
        f"2 subscriptions with delayed market data ({SPY_600}, {SPY_610})"
    )

    for conid in (7, 8):
        await scene.gateway.send_fields(conid, at=T + 1, f6509="RpB")
    await trio.sleep(0.1)
    assert scene.status == "connected"


@pytest.mark.parametrize(
    ("letters", "availability", "words", "count"),
    [
        ("DPB", "delayed", "subscriptions with delayed market data", "delayed"),
        ("YB", "frozen", "subscriptions with delayed market data", "frozen-delayed"),
        (
            "NpB",
            "unknown",
            "subscriptions that this IBKR user has no market data for",
            "not-subscribed",
        ),
        (
            "O",
            "unknown",
            "subscriptions that wait for the market-data API acknowledgement at IBKR",
            "not-acknowledged",
        ),
    ],
)
async def test_data_that_are_not_live_are_marked_and_shown(
    nursery, autojump_clock, letters, availability, words, count
):
    scene = Scene(nursery)
    await scene.start_streaming(2)
    await scene.gateway.send_fields(UNDERLYING, f31="668")
    await scene.gateway.send_fields(f6509=letters)
    await scene.gateway.send_fields(at=T + 1, f7308="0.5")

    [tick] = records_of(await scene.frames.receive())
    await trio.sleep(1)

    assert tick.availability == availability
    assert scene.last_error == in_short(words, [SPY_600])
    assert scene.counts[f"availability.{count}"] == 1

    await scene.gateway.send_fields(at=T + 2, f7308="0.6", f6509="RpB")
    await trio.sleep(CHECK_INTERVAL_S)
    assert scene.status == "connected"


async def test_frozen_data_after_the_close_are_marked_and_no_trouble(
    nursery, autojump_clock
):
    scene = Scene(nursery)
    await scene.start_streaming(2)
    await scene.gateway.send_fields(UNDERLYING, f31="668")
    await scene.gateway.send_fields(f7308="0.5", f6509="ZBd")

    [tick] = records_of(await scene.frames.receive())
    await trio.sleep(CHECK_INTERVAL_S)

    assert tick.availability == "frozen"
    assert scene.status == "connected"
    assert scene.counts["availability.frozen"] == 1


async def test_held_options_stream_before_the_watch_list_is_looked_up(
    nursery, autojump_clock
):
    """While the search is slow the session is kept alive."""
    strikes = range(620, 660)
    config = replace(
        CONFIG,
        watchlist=tuple(
            ContractKey(f"QQQ   261218C{strike * 1000:08d}") for strike in strikes
        ),
    )
    scene = Scene(nursery, config)
    gateway = scene.gateway
    found = [{"conid": "320", "symbol": "QQQ", "sections": [{"secType": "OPT"}]}]
    gateway.answers["/iserver/secdef/search"] = (200, found)

    def info(_content, params):
        option = {
            "conid": 1000 + int(params["strike"]),
            "maturityDate": "20261218",
            "right": "C",
            "strike": float(params["strike"]),
            "tradingClass": "QQQ",
        }
        return 200, [option]

    gateway.answers["/iserver/secdef/info"] = info
    [(at, _)] = await scene.start_streaming()
    assert gateway.times_of("/iserver/secdef/search") == []
    assert at < 2

    await gateway.wait_received("smd+1659+")
    assert len(gateway.times_of("/iserver/secdef/search")) == 1
    assert len(gateway.times_of("/iserver/secdef/info")) == len(strikes)


async def test_a_slow_search_does_not_keep_the_session_from_being_kept_alive(
    nursery, autojump_clock
):
    config = replace(
        CONFIG,
        watchlist=tuple(ContractKey(f"AA{n:03d} 261218C00100000") for n in range(20)),
    )
    scene = Scene(nursery, config)
    scene.gateway.answers["/iserver/secdef/search"] = (200, ...)
    await scene.start_streaming()
    await trio.sleep(290)

    assert len(scene.gateway.times_of("/iserver/secdef/search")) > 15
    assert max(pauses(scene.gateway.times_of("/tickle"))) < 60
    assert scene.endings == []


async def test_a_search_that_is_locked_out_goes_on_afterwards(nursery, autojump_clock):
    config = replace(CONFIG, watchlist=(SPY_610,))
    scene = Scene(nursery, config)
    search = "/iserver/secdef/search"
    scene.gateway.answers[search] = [
        (429, b"", {"Retry-After": "20"}),
        (200, []),
    ]
    await scene.start_streaming()
    await trio.sleep(5)
    assert "watched contracts could not be looked up" in scene.last_error

    await trio.sleep(70)
    assert len(scene.gateway.times_of(search)) == 2
    assert "1 contract that IBKR does not know" in scene.last_error
    assert scene.endings == []


async def test_what_is_streamed_is_told_for_staleness(autojump_clock, scene):
    await scene.start_streaming(3)
    await trio.sleep(1)
    since = dict(scene.health.streamed())
    assert set(since) == {SPY_600, SPY_610}

    scene.gateway.positions["U1"] = [make_row(7)]
    scene.feed.reload(CONFIG)
    await scene.gateway.wait_received("umd+8+")
    await trio.sleep(1)

    assert scene.health.streamed() == {SPY_600: since[SPY_600]}


async def test_the_exchange_of_a_streamed_option_is_told_for_its_hours(
    autojump_clock, scene
):
    foreign = make_row(
        9,
        4500,
        contractDesc="ESTX50 DEC2026 4500 C [C OESX 20261218 4500 M 10]",
        currency="EUR",
        listingExchange="EUREX",
        undConid=4356500,
        multiplier=10.0,
        expiry="20261218",
        putOrCall="C",
    ) | {"strike": "4500"}
    scene.gateway.positions["U1"] = [make_row(7, listingExchange="AMEX"), foreign]
    await scene.start_streaming(3)
    await trio.sleep(1)

    exchanges = {key: scene.health.exchange_of(key) for key in scene.health.streamed()}
    assert exchanges == {SPY_600: "AMEX", "ibkr:9": "EUREX"}


@pytest.mark.parametrize(
    ("letters", "is_accepted"),
    [("DPB", True), ("YB", True), ("NpB", False), ("O", False)],
)
async def test_accepted_delayed_data_are_a_note(
    nursery, autojump_clock, letters, is_accepted
):
    """Data that this user has no right to are a fault all the same."""
    scene = Scene(nursery, replace(CONFIG, accept_delayed=True))
    await scene.start_streaming(2)
    await scene.gateway.send_fields(UNDERLYING, f31="668")
    await scene.gateway.send_fields(f7308="0.5", f6509=letters)
    await trio.sleep(CHECK_INTERVAL_S)

    notes = scene.health.session().notes
    assert scene.status == ("connected" if is_accepted else "degraded")
    if is_accepted:
        text = f"1 subscription with delayed market data ({SPY_600}), accepted by"
        assert notes == (f"{text} GREEKS_ACCEPT_DELAYED",)
        assert scene.last_error is None
    else:
        assert notes == ()


async def test_a_reload_turns_delayed_data_into_a_note_and_back(
    nursery, autojump_clock
):
    scene = Scene(nursery)
    await scene.start_streaming(2)
    await scene.gateway.send_fields(UNDERLYING, f31="668")
    await scene.gateway.send_fields(f7308="0.5", f6509="DPB")
    await trio.sleep(1)
    seen = [(scene.status, len(scene.health.session().notes))]

    for accept_delayed in (True, False):
        scene.feed.reload(replace(CONFIG, accept_delayed=accept_delayed))
        await trio.sleep(CHECK_INTERVAL_S)
        seen.append((scene.status, len(scene.health.session().notes)))

    assert seen == [("degraded", 0), ("connected", 1), ("degraded", 0)]


async def test_the_named_contracts_begin_with_the_options(autojump_clock, scene):
    await scene.start_streaming(3)
    await scene.gateway.send_fields(UNDERLYING, f31="668", f6509="DPB")
    await scene.gateway.send_fields(8, f7308="0.5", f6509="DPB")
    await trio.sleep(1)

    assert scene.last_error == (
        f"2 subscriptions with delayed market data ({SPY_610}, SPY)"
    )
