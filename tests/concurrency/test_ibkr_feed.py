from __future__ import annotations

import itertools
import logging
from dataclasses import replace
from decimal import Decimal

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from greeks_trio.brokers.ibkr.connection import READY_LIMIT_S
from greeks_trio.errors import FeedInterrupted
from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.records import FeedGap, PositionsSnapshot
from tests.concurrency.ibkr_gateway import CONFIG, SESSION, Scene, T, make_row
from tests.factories import records_of

SPY_600 = ContractKey("SPY   261218C00600000")
SPY_610 = ContractKey("SPY   261218C00610000")


@pytest.fixture
def scene(nursery):
    return Scene(nursery)


def one_reason(ending):
    _, [reason] = ending
    assert isinstance(reason, FeedInterrupted)
    return str(reason)


async def receive_ticks(scene):
    return records_of(await scene.frames.receive())


def entries(scene):
    """Return the records of the journal, oldest first."""
    return list(scene.journal.recorded)


async def test_nothing_is_sent_before_the_gateway_is_ready(autojump_clock, scene):
    scene.gateway.says_ready = False
    scene.start()
    await trio.sleep(READY_LIMIT_S - 1)

    assert scene.gateway.received == []
    await scene.gateway.send({"topic": "system", "success": "trader01"})

    await scene.gateway.wait_received("smd+7+")
    assert trio.current_time() < READY_LIMIT_S


async def test_a_gateway_that_never_becomes_ready_is_given_up(autojump_clock, scene):
    scene.gateway.says_ready = False
    scene.start()
    await wait_all_tasks_blocked(0.01)
    opened = trio.current_time()

    ended = await scene.wait_ended()

    assert "not its connection to IBKR" in one_reason(ended)
    assert ended[0] == pytest.approx(opened + READY_LIMIT_S, abs=2)


async def test_the_session_is_in_the_cookie_and_given_when_asked(autojump_clock, scene):
    scene.gateway.says_ready = False
    scene.start()
    await trio.sleep(3)
    await scene.gateway.send({"message": "waiting for session"})

    [(_, text)] = await scene.gateway.wait_received("{")

    assert text == f'{{"session":"{SESSION}"}}'
    assert SESSION.encode() in scene.gateway.cookies[0]


async def test_a_tick_is_handed_over_with_everything_that_is_known(
    autojump_clock, scene
):
    await scene.start_streaming(2)
    gateway = scene.gateway
    await gateway.send_fields(756733, f31="668.25", f84="668.2", f86="668.3")
    await gateway.send_fields(f6509="RpB", f84="2.41")
    await gateway.send_fields(at=T + 500, f7308="0.5", f7633="18.2%")

    frame = await scene.frames.receive()

    [tick] = records_of(frame)
    assert tick.broker == "ibkr"
    assert frame[0].read_at == trio.current_time()
    assert (tick.account_id, tick.contract_key) == ("U1", SPY_600)
    assert (tick.delta, tick.implied_volatility) == (0.5, 0.182)
    assert (tick.underlying_price, tick.availability) == (668.25, "realtime")
    assert tick.quantity == Decimal(-3)
    assert tick.event_time.timestamp() == (T + 500) / 1000
    assert b'"7308": "0.5"' in tick.source_payload


async def test_a_tick_has_the_prices_of_its_option_and_of_its_underlying(
    autojump_clock, scene
):
    await scene.start_streaming(2)
    gateway = scene.gateway
    await gateway.send_fields(756733, at=T, f31="598.10", f84="668.2", f86="668.3")
    await gateway.send_fields(at=T, f7635="2.42", f84="2.41", f86="2.43")
    await gateway.send_fields(at=T + 500, f84="2.40")
    await gateway.send_fields(at=T + 900, f7308="0.5")

    [tick] = await receive_ticks(scene)

    assert (tick.price, tick.bid, tick.ask) == (2.42, 2.4, 2.43)
    assert tick.underlying_price == 668.25
    assert tick.underlying_price_at.timestamp() == T / 1000


async def test_an_option_on_a_future_has_the_price_of_its_future(autojump_clock, scene):
    option = make_row(
        contractDesc="CL     MAY2027 -5 P (LO)",
        assetClass="FOP",
        expiry="20270414",
        putOrCall="P",
        multiplier=1000.0,
        ticker="CL",
        undSym="CL",
        underlying=212,
    ) | {"strike": "-5"}
    future = make_row(
        212,
        contractDesc="CL       MAY2027",
        assetClass="FUT",
        expiry="20270420",
        multiplier=1000.0,
        ticker="CL",
        underlying=0,
    )
    scene.gateway.positions["U1"] = [option, future]
    await scene.start_streaming(2)
    await scene.gateway.send_fields(212, at=T, f31="-12.1", f84="-37.7", f86="-37.5")
    await scene.gateway.send_fields(at=T + 900, f7308="-0.5", f7635="32.8")

    [tick] = await receive_ticks(scene)

    assert (tick.underlying_price, tick.price) == (-37.6, 32.8)


async def test_numbers_that_stand_for_unset_are_missing_and_counted(
    autojump_clock, scene
):
    await scene.start_streaming(2)
    unset = "1.7976931348623157E308"
    await scene.gateway.send_fields(756733, f31="-1", f84="-1", f86="-1")
    await scene.gateway.send_fields(at=T, f7308="0.5", f7311=unset, f7633=unset)
    names = ("f7308", "f7309", "f7310", "f7311", "f7633")
    await scene.gateway.send_fields(at=T + 1, **dict.fromkeys(names, unset))
    await scene.gateway.send_fields(at=T + 2, f7308="0.6", f7311="0.2")

    first, second = [(await receive_ticks(scene))[0] for _ in range(2)]

    assert (first.delta, first.vega, first.implied_volatility) == (0.5, None, None)
    assert (first.underlying_price, first.underlying_price_at) == (None, None)
    assert unset.encode() in first.source_payload
    assert (second.delta, second.gamma, second.vega) == (0.6, None, 0.2)
    counts = scene.health.statistics().counts
    assert counts["impossible.delta"] == 1
    assert counts["impossible.vega"] == 2
    assert counts["impossible.underlying-price"] == 3
    assert counts["quote.no-greeks"] == 1


async def test_greeks_that_come_in_pieces_are_merged(autojump_clock, scene):
    await scene.start_streaming()
    await scene.gateway.send_fields(at=T, f7308="0.5", f7309="0.01")
    await scene.gateway.send_fields(at=T + 500, f7310="-0.3")
    await scene.gateway.send_fields(at=T + 250, f7308="0.4")

    first, second, late = [(await receive_ticks(scene))[0] for _ in range(3)]

    assert (first.delta, first.theta) == (0.5, None)
    assert (second.delta, second.gamma, second.theta) == (0.5, 0.01, -0.3)
    assert (late.delta, late.gamma, late.theta) == (0.4, 0.01, None)


async def test_a_doubled_first_frame_gives_equal_ticks(autojump_clock, scene):
    await scene.start_streaming()
    for _ in range(2):
        await scene.gateway.send_fields(f7308="0.5")

    [first], [second] = await receive_ticks(scene), await receive_ticks(scene)

    assert (first.event_time, first.delta) == (second.event_time, second.delta)


async def test_every_account_that_holds_a_contract_gets_a_tick(autojump_clock, scene):
    scene.gateway.positions["U2"] = [make_row(position=5)]
    await scene.start_streaming()
    await scene.gateway.send_fields(f7308="0.5")

    ticks = await receive_ticks(scene)

    assert [(tick.account_id, tick.quantity) for tick in ticks] == [
        ("U1", Decimal(-3)),
        ("U2", Decimal(5)),
    ]


async def test_volatility_alone_is_no_tick(autojump_clock, scene):
    await scene.start_streaming()
    await scene.gateway.send_fields(f7633="20%")
    await scene.gateway.send_fields(at=T + 1, f7308="0.5")

    [tick] = await receive_ticks(scene)

    assert tick.implied_volatility == 0.2
    assert scene.counts["quote.no-greeks"] == 1


async def test_odd_frames_are_counted_and_end_nothing(autojump_clock, scene):
    await scene.start_streaming()
    await scene.gateway.send(
        b"\x00\xff",
        "ech+hb",
        "[1]",
        {"error": f"Topic unknown {SESSION}", "code": 1},
        {"topic": "ntf", "args": []},
        {"topic": "smd+7;;;8/1"},
        {"topic": "sts", "args": None},
    )
    await scene.gateway.send(f'{{"topic": "{SESSION}')
    await scene.gateway.send_fields(f7308="0.5")

    [tick] = await receive_ticks(scene)

    assert tick.delta == 0.5
    assert scene.counts["odd.not-json"] == 2
    assert scene.counts["odd.not-an-object"] == 1
    assert scene.counts["gateway.error"] == 1
    assert all(SESSION not in text for _, text in scene.health.odd_frames)
    assert scene.endings == []


async def test_an_error_frame_is_logged_without_the_session(
    autojump_clock, scene, caplog
):
    await scene.start_streaming()
    with caplog.at_level(logging.WARNING):
        await scene.gateway.send({"error": f"Topic unknown {SESSION}"})
        await wait_all_tasks_blocked(0.01)

    assert "Topic unknown ***" in caplog.text
    assert SESSION not in caplog.text


async def test_silence_costs_exactly_its_limit(autojump_clock, scene):
    scene.gateway.heartbeat_s = 0
    await scene.start_streaming()
    await trio.sleep(7)
    await scene.gateway.send_fields(f7308="0.5")
    await receive_ticks(scene)
    silent_since = trio.current_time()

    ended = await scene.wait_ended()

    assert ended[0] == silent_since + CONFIG.silence_limit_s
    assert "silent for 30 s" in one_reason(ended)


async def test_heartbeats_without_market_data_are_no_silence(autojump_clock, scene):
    await scene.start_streaming()

    await trio.sleep(3600)

    assert scene.endings == []
    assert scene.health.session().last_heartbeat_at is not None


async def test_both_signs_of_life_are_given_at_least_once_a_minute(
    nursery, autojump_clock
):
    jitters = iter([0.0, 1.0, 0.3] * 10_000)
    scene = Scene(nursery, jitter=lambda: next(jitters))
    await scene.start_streaming()

    await trio.sleep(1800)

    for moments in (
        [at for at, text in scene.gateway.received if text == "tic"],
        scene.gateway.times_of("/tickle"),
    ):
        moments = [0.0, *moments, trio.current_time()]
        pauses = [b - a for a, b in itertools.pairwise(moments)]
        assert max(pauses) < 60
        assert len(moments) < 1800 / 30


async def test_subscriptions_are_renewed_in_time_for_hours(autojump_clock, scene):
    await scene.start_streaming(2)
    for conid in (7, 756733):
        await scene.gateway.send_fields(conid, f31="1")

    await trio.sleep(7200)

    for conid in (7, 756733):
        moments = [
            at
            for at, text in scene.gateway.received
            if text.startswith(f"smd+{conid}+")
        ]
        pauses = [b - a for a, b in itertools.pairwise(moments)]
        assert len(moments) > 12
        assert max(pauses) <= 540


async def test_a_subscription_without_an_answer_is_repeated_and_a_gap(
    autojump_clock, scene
):
    await scene.start_streaming(2)
    await scene.gateway.send_fields(756733, f31="668")
    await scene.gateway.wait_received("smd+7+", 2)
    await trio.sleep(0.1)

    assert scene.health.session().status == "degraded"
    [gap] = [each for each in entries(scene) if isinstance(each, FeedGap)]
    assert (gap.contract_key, gap.ended_at) == (SPY_600, None)

    await scene.gateway.send_fields(f7308="0.5")
    await receive_ticks(scene)
    await trio.sleep(0.1)

    assert scene.health.session().status == "connected"
    assert entries(scene)[-1].ended_at is not None


async def test_a_closed_connection_ends_and_the_next_one_subscribes_again(
    autojump_clock, scene
):
    await scene.start_streaming(2)
    await scene.gateway.send_fields(f7308="0.5", f7309="0.01")
    await receive_ticks(scene)
    await scene.gateway.close()

    assert "closed the connection (1012 restart)" in one_reason(
        await scene.wait_ended()
    )
    requests = await scene.start_streaming(2)
    await scene.gateway.send_fields(at=T + 1, f7308="0.6")
    [tick] = await receive_ticks(scene)

    assert {text.split("+")[1] for _, text in requests} == {"7", "756733"}
    assert tick.gamma is None  # the fields of the old connection are forgotten
    assert scene.gateway.connections == 2


async def test_frames_before_a_close_are_all_taken(autojump_clock, scene):
    await scene.start_streaming()
    for number in range(20):
        await scene.gateway.send_fields(at=T + number, f7308=str(number / 100))
    await scene.gateway.close()
    await scene.wait_ended()

    ticks = [(await receive_ticks(scene))[0] for _ in range(20)]

    assert [tick.delta for tick in ticks] == [number / 100 for number in range(20)]


async def test_a_send_that_fails_costs_no_frame_that_came_before_the_close(
    nursery, autojump_clock
):
    scene = Scene(nursery, intake=1)
    await scene.start_streaming()
    for number in range(10):
        await scene.gateway.send_fields(at=T + number, f7308=str(number / 10))
    await wait_all_tasks_blocked(0.01)
    nursery.start_soon(scene.gateway.close)
    scene.gateway.positions["U1"].append(make_row(8, 610))
    scene.feed.reload(CONFIG)
    await trio.sleep(0.7)  # the new contract could not be requested

    ticks = []
    while len(ticks) < 10:
        ticks += await receive_ticks(scene)

    assert [tick.delta for tick in ticks] == [number / 10 for number in range(10)]
    _, reasons = await scene.wait_ended()
    assert all("closed the connection" in str(reason) for reason in reasons)


async def test_a_reload_reads_the_positions_once(autojump_clock, scene):
    await scene.start_streaming()
    scene.feed.reload(CONFIG)

    await trio.sleep(30)

    # The first reading is confirmed by a second one.
    assert len(scene.gateway.times_of("/portfolio/U1/positions/0")) == 3


async def test_a_reload_without_a_connection_counts_for_the_next_one(
    autojump_clock, scene
):
    scene.gateway.positions["U2"] = [make_row(8, 610)]
    scene.feed.reload(replace(CONFIG, accounts=("U2",)))

    await scene.start_streaming(2)
    await trio.sleep(1)

    assert scene.gateway.sent("smd+8+")
    assert scene.gateway.sent("smd+7+") == []


async def test_a_reload_may_change_accounts_and_lines(autojump_clock, scene):
    scene.gateway.positions["U2"] = [make_row(8, 610)]
    await scene.start_streaming(3)

    scene.feed.reload(replace(CONFIG, accounts=("U2",), market_data_lines=1))
    await scene.gateway.wait_received("umd+7+")
    await trio.sleep(1)

    assert scene.gateway.sent("umd+756733+")
    assert scene.gateway.sent("umd+8+") == []
    assert len(scene.gateway.times_of("/portfolio/accounts")) == 1


async def test_the_gap_of_a_contract_that_is_no_longer_wanted_ends(
    autojump_clock, scene
):
    await scene.start_streaming(2)
    await scene.gateway.wait_received("smd+7+", 2)
    scene.gateway.positions["U1"] = []
    scene.feed.reload(CONFIG)

    await scene.gateway.wait_received("umd+7+")

    gaps = [each for each in entries(scene) if isinstance(each, FeedGap)]
    assert [gap.ended_at is None for gap in gaps] == [True, False]


async def test_reload_applies_only_the_difference(autojump_clock, scene):
    gateway = scene.gateway
    gateway.positions["U1"] = [make_row(7), make_row(8, 610)]
    await scene.start_streaming(3)
    for conid in (7, 8, 756733):
        await gateway.send_fields(conid, at=T, f7308="0.5", f7309="0.01")
    before = len(gateway.received)

    gateway.positions["U1"] = [make_row(8, 610, position=4), make_row(9, 620)]
    scene.feed.reload(CONFIG)
    await gateway.wait_received("smd+9+")
    await gateway.wait_received("umd+7+")

    changes = [text for _, text in gateway.received[before:]]
    assert sorted(text.rpartition("+")[0] for text in changes) == ["smd+9", "umd+7"]
    await gateway.send_fields(8, at=T + 1, f7310="-0.1")
    ticks = [tick for _ in range(3) for tick in await receive_ticks(scene)]
    unchanged = ticks[-1]
    assert (unchanged.contract_key, unchanged.quantity) == (SPY_610, Decimal(4))
    assert unchanged.gamma == 0.01  # its memory was left alone


async def test_frames_of_a_contract_that_was_dropped_are_not_stored(
    autojump_clock, scene
):
    scene.gateway.positions["U1"] = [make_row(7), make_row(8, 610)]
    await scene.start_streaming(3)
    scene.gateway.positions["U1"] = [make_row(7)]
    scene.feed.reload(CONFIG)
    await scene.gateway.wait_received("umd+8+")
    await scene.gateway.send_fields(8, f7308="0.4")
    await scene.gateway.send_fields(7, f7308="0.5")

    [tick] = await receive_ticks(scene)

    assert tick.contract_key == SPY_600
    assert scene.counts["quote.not-wanted"] == 1


async def test_a_contract_that_nobody_asked_for_is_counted_and_nothing_else(
    autojump_clock, scene
):
    await scene.start_streaming(2)
    for conid in range(1000, 1100):
        await scene.gateway.send_fields(conid, f7308="0.4", f31="1", f6509="DB")
    await scene.gateway.send_fields(7, f7308="0.5")
    await scene.gateway.send_fields(756733, f31="668")

    await receive_ticks(scene)
    await trio.sleep(1)

    assert scene.counts["quote.not-wanted"] == 100
    assert scene.status == "connected"
    assert "availability.delayed" not in scene.counts


async def test_positions_are_read_again_on_the_interval(autojump_clock, scene):
    await scene.start_streaming()
    scene.gateway.positions["U1"].append(make_row(8, 610))

    [(at, _)] = await scene.gateway.wait_received("smd+8+")

    assert at <= CONFIG.positions_interval_s + 3
    snapshots = [e for e in entries(scene) if isinstance(e, PositionsSnapshot)]
    assert [len(each.positions) for each in snapshots] == [1, 2]


async def test_positions_that_cannot_be_read_do_not_cost_the_stream(
    autojump_clock, scene
):
    await scene.start_streaming(2)
    for conid in (7, 756733):
        await scene.gateway.send_fields(conid, f7308="0.5")
    scene.gateway.answers["/portfolio/U1/positions/0"] = [
        (503, b"Service Unavailable"),
        (200, [make_row(), make_row(8, 610)]),
    ]
    await trio.sleep(CONFIG.positions_interval_s + 2)

    assert scene.health.session().status == "degraded"
    assert "503" in scene.health.session().last_error

    scene.feed.reload(CONFIG)
    await scene.gateway.wait_received("smd+8+")
    await scene.gateway.send_fields(8, f31="1")
    await trio.sleep(30)
    assert scene.health.session().status == "connected"
    assert scene.endings == []


async def test_a_reload_whose_read_fails_is_tried_again_soon(autojump_clock, scene):
    await scene.start_streaming()
    scene.gateway.answers["/portfolio/U1/positions/0"] = [
        (503, b"Service Unavailable"),
        (503, b"Service Unavailable"),
        (200, [make_row(), make_row(8, 610)]),
    ]
    asked = trio.current_time()
    scene.feed.reload(CONFIG)

    [(at, _)] = await scene.gateway.wait_received("smd+8+")

    assert 20 <= at - asked < 25
    assert scene.counts["positions.failed"] == 2


async def test_another_gateway_needs_another_connection(autojump_clock, scene):
    await scene.start_streaming()

    scene.feed.reload(replace(CONFIG, ws_url="wss://elsewhere/v1/api/ws"))

    assert "names another IBKR gateway" in one_reason(await scene.wait_ended())


async def test_contracts_that_share_lines_are_counted_and_noted(
    nursery, autojump_clock
):
    scene = Scene(nursery, replace(CONFIG, market_data_lines=2))
    scene.gateway.positions["U1"] = [make_row(n, 600 + n) for n in (1, 2, 3)]
    await scene.start_streaming(2)
    await trio.sleep(1)

    statistics = scene.health.statistics()
    assert (
        statistics.wanted,
        statistics.subscription_count,
        statistics.in_rotation,
        statistics.rotation_lines,
    ) == (3, 3, 3, 1)
    session = scene.health.session()
    assert session.status == "connected"
    [note] = session.notes
    assert note == "3 contracts share 1 lines: each is seen at least every 236 s"


async def test_no_positions_at_all_is_healthy(autojump_clock, scene):
    scene.gateway.positions = {"U1": [], "U2": []}
    scene.start()

    await trio.sleep(600)

    assert scene.health.session().status == "connected"
    assert scene.gateway.sent("smd") == []
    assert scene.endings == []


async def test_a_spurious_status_frame_is_checked_and_forgiven(autojump_clock, scene):
    await scene.start_streaming()
    before = len(scene.gateway.times_of("/tickle"))
    await scene.gateway.send({"topic": "sts", "args": {"authenticated": False}})

    await trio.sleep(5)

    assert len(scene.gateway.times_of("/tickle")) == before + 1
    assert scene.endings == []


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"authenticated": False, "connected": True}, "session is lost"),
        ({"authenticated": False, "competing": True}, "another program"),
        ({"authenticated": True, "established": False}, "session is lost"),
    ],
)
async def test_a_lost_session_ends_the_connection_at_once(
    autojump_clock, scene, status, words
):
    await scene.start_streaming()
    asked = trio.current_time()
    scene.gateway.status = status
    await scene.gateway.send({"topic": "sts", "args": {"authenticated": False}})

    ended = await scene.wait_ended()

    assert words in one_reason(ended)
    assert ended[0] - asked < 5


async def test_a_session_that_ends_without_a_word_is_noticed(autojump_clock, scene):
    await scene.start_streaming()
    scene.gateway.status = {"authenticated": False, "connected": True}

    ended = await scene.wait_ended()

    assert ended[0] < 60
    assert "session is lost" in one_reason(ended)


async def test_one_failed_tickle_is_forgiven(autojump_clock, scene):
    await scene.start_streaming()
    good = (200, {"session": SESSION, "iserver": {"authStatus": scene.gateway.status}})
    scene.gateway.answers["/tickle"] = [(503, b""), good]

    await trio.sleep(300)

    assert scene.counts["tickle.failed"] == 1
    assert scene.endings == []


async def test_a_gateway_that_is_logged_out_ends_the_connection(autojump_clock, scene):
    await scene.start_streaming()
    scene.gateway.answers["/tickle"] = (401, b"<html>")

    assert "open https://localhost:5000/ in a browser" in one_reason(
        await scene.wait_ended()
    )


async def test_a_full_channel_holds_the_reader_back_and_loses_nothing(
    nursery, autojump_clock
):
    scene = Scene(nursery, intake=1)
    await scene.start_streaming()
    for number in range(5):
        await scene.gateway.send_fields(at=T + number, f7308=str(number / 10))
    await wait_all_tasks_blocked(0.01)

    ticks = []
    while len(ticks) < 5:
        ticks += await receive_ticks(scene)

    assert [tick.delta for tick in ticks] == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert "ticks.lost" not in scene.counts
