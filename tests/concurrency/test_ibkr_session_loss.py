"""The life of IBKR's sessions: lost, taken, locked out, reset, won back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from greeks_trio.brokers.ibkr.keep_alive import TICKLE_PATIENCE_S
from greeks_trio.errors import FeedInterrupted, FeedSilent
from tests.concurrency.ibkr_gateway import (
    CONFIG,
    LOGGED_IN,
    SESSION,
    Scene,
    T,
    make_row,
)
from tests.factories import records_of

NO_SESSION = {"authenticated": False, "established": False, "connected": False}
TIMED_OUT = {"authenticated": False, "established": False, "connected": True}
TAKEN = TIMED_OUT | {"competing": True}
HOUR_S = 3600.0


@pytest.fixture
def scene(nursery):
    return Scene(nursery)


@pytest.fixture
def competing(nursery):
    return Scene(nursery, replace(CONFIG, compete=True))


def answer_init(gateway, answer, *, then=None):
    """Answer requests for the brokerage session; return their messages."""
    asked = []

    def init(content, _params):
        asked.append(content)
        gateway.status = answer if then is None else then
        return 200, answer

    gateway.answers["/iserver/auth/ssodh/init"] = init
    return asked


async def stream_both(scene):
    """Begin to stream and let both conids answer: Greeks and a price."""
    await scene.start_streaming(2)
    await scene.gateway.send_fields(756733, f31="668.25")
    await scene.gateway.send_fields(7, f7308="0.5")
    await scene.frames.receive()


async def tick(scene, number=1):
    await scene.gateway.send_fields(at=T + number, f7308=f"0.{number}")
    return records_of(await scene.frames.receive())


@pytest.mark.parametrize("is_status", [True, False])
async def test_a_login_that_needs_a_person_is_waited_for_calmly(
    autojump_clock, scene, is_status
):
    gateway = scene.gateway
    if is_status:
        gateway.status = NO_SESSION
    else:
        gateway.answers["/tickle"] = (401, b"<html>not logged in</html>")
    scene.supervise()
    await trio.sleep(2 * HOUR_S)

    await scene.health.wait_status("disconnected")
    assert "open https://localhost:5000/ in a browser" in scene.last_error
    assert 2 * 40 < len(gateway.requests) < 2 * 130
    assert gateway.times_of("/iserver/auth/ssodh/init") == []

    gateway.status = dict(LOGGED_IN)
    gateway.answers.clear()
    logged_in = trio.current_time()
    [(at, _)] = await gateway.wait_received("smd+7+")
    assert at - logged_in < 65


async def test_the_nightly_reset_is_sat_out(autojump_clock, scene):
    gateway = scene.gateway
    scene.supervise()
    await gateway.wait_received("smd+", 2)
    gateway.answers |= dict.fromkeys(
        ("/tickle", "/iserver/accounts", "/portfolio/accounts"),
        (503, b"Service Unavailable"),
    )
    await gateway.close(1000)
    since, before = len(gateway.received), len(gateway.requests)
    await trio.sleep(10 * 60)

    await scene.health.wait_status("disconnected")
    assert "503" in scene.last_error
    assert len(gateway.requests) - before < 30

    gateway.answers.clear()
    over = trio.current_time()
    requests = await gateway.wait_received("smd+", 2, since=since)
    assert requests[-1][0] - over < 65
    assert [each[:2] for each in scene.gaps()] == [(None, "disconnected")] * 2


async def test_a_reset_that_leaves_the_socket_open_costs_nothing_for_a_while(
    autojump_clock, scene
):
    await stream_both(scene)
    good = scene.gateway.answers.pop("/tickle", None)
    scene.gateway.answers["/tickle"] = (503, b"")
    await trio.sleep(100)

    assert scene.status == "degraded"
    assert "cannot be kept alive" in scene.last_error
    assert await tick(scene)

    assert good is None
    del scene.gateway.answers["/tickle"]
    await trio.sleep(20)
    assert scene.status == "connected"
    assert scene.endings == []


async def test_a_session_that_cannot_be_kept_alive_ends_after_our_patience(
    autojump_clock, scene
):
    await scene.start_streaming()
    scene.gateway.answers["/tickle"] = (503, b"")

    at, [reason] = await scene.wait_ended()

    first = scene.gateway.times_of("/tickle")[1]
    assert TICKLE_PATIENCE_S <= at - first < TICKLE_PATIENCE_S + 10
    assert reason.http_status == 503


@pytest.mark.parametrize("is_401", [True, False])
async def test_a_login_that_is_gone_ends_the_connection_without_patience(
    autojump_clock, scene, is_401
):
    await scene.start_streaming()
    asked = trio.current_time()
    scene.gateway.status = NO_SESSION
    if is_401:
        scene.gateway.answers["/tickle"] = (401, b"")
    await scene.gateway.send({"topic": "sts", "args": {"authenticated": False}})

    at, [reason] = await scene.wait_ended()

    assert "in a browser" in str(reason)
    assert at - asked < 5


async def test_a_swarm_of_status_frames_is_one_question(autojump_clock, scene):
    await stream_both(scene)
    before = len(scene.gateway.times_of("/tickle"))
    for number in range(100):
        await scene.gateway.send(
            {"topic": "sts", "args": {"authenticated": bool(number % 2)}}
        )
        await trio.sleep(0.1)

    assert len(scene.gateway.times_of("/tickle")) - before <= 3
    assert scene.endings == []


async def test_a_session_lost_for_a_moment_has_lost_its_streams(autojump_clock, scene):
    """REST says that all is well again; so everything is asked for once more."""
    await stream_both(scene)
    requested = len(scene.gateway.sent_at("smd+7+"))
    # First a warning, while all is well; then the loss, and it is over when we ask.
    for args in ({"competing": True}, {"authenticated": False}):
        await scene.gateway.send({"topic": "sts", "args": args})
        await trio.sleep(5)
    assert len(scene.gateway.sent_at("smd+7+")) == requested + 1

    await trio.sleep(8)
    assert len(scene.gateway.sent_at("smd+7+")) == requested + 2
    assert scene.endings == []


@pytest.mark.parametrize("number", [1, 5])
async def test_a_session_lost_for_a_moment_is_shown_and_a_gap(
    autojump_clock, scene, number
):
    """However often IBKR says it; the socket lives on."""
    await stream_both(scene)
    await trio.sleep(1)
    assert scene.status == "connected"
    for _ in range(number):
        await scene.gateway.send({"topic": "sts", "args": {"authenticated": False}})
    await trio.sleep(2)

    assert scene.status == "degraded"
    assert "IBKR has said that the session is lost" in scene.last_error
    assert scene.counts["session.doubted"] == number
    assert scene.gaps() == [
        (None, "session in doubt", False),
        (None, "session in doubt", True),
    ]

    for conid in (7, 756733):
        await scene.gateway.send_fields(conid, at=T + 1, f7308="0.5")
    await trio.sleep(10)
    assert scene.status == "connected"
    assert scene.endings == []


async def test_doubts_are_shown_for_as_long_as_they_come(autojump_clock, scene):
    await stream_both(scene)
    await trio.sleep(1)
    for _ in range(30):
        await scene.gateway.send({"topic": "sts", "args": {"authenticated": False}})
        for conid in (7, 756733):
            await scene.gateway.send_fields(conid, f7308="0.5")
        await trio.sleep(2)
        assert scene.status == "degraded"

    asked = len(scene.gateway.sent_at("smd+7+")) - 1
    assert 4 <= asked <= 5
    assert len(scene.gaps()) == 2 * asked


async def test_another_programs_claim_is_shown_and_no_gap(autojump_clock, scene):
    await stream_both(scene)
    await scene.gateway.send({"topic": "sts", "args": {"competing": True}})
    await trio.sleep(2)

    assert "wanted by another program" in scene.last_error
    assert scene.gaps() == []


async def test_only_what_a_status_frame_says_casts_doubt(autojump_clock, scene):
    await stream_both(scene)
    before = len(scene.gateway.times_of("/tickle"))
    for args in ({"competing": False}, {"message": ""}, {"authenticated": True}):
        await scene.gateway.send({"topic": "sts", "args": args})
    await trio.sleep(5)

    assert len(scene.gateway.times_of("/tickle")) == before


async def test_another_programs_session_is_waited_for_and_never_taken(
    autojump_clock, scene
):
    gateway = scene.gateway
    gateway.status = TAKEN
    asked = answer_init(gateway, TAKEN)
    scene.supervise()
    await trio.sleep(HOUR_S)

    await scene.health.wait_status("disconnected")
    assert "another program (TWS, the mobile app)" in scene.last_error
    assert "IBKR_COMPETE" in scene.last_error
    assert 40 < len(asked) < 130
    assert all(each == {"publish": True, "compete": False} for each in asked)
    assert gateway.times_of("/iserver/auth/status") == []  # it would not help

    answer_init(gateway, LOGGED_IN)
    gateway.status = TIMED_OUT
    freed = trio.current_time()
    [(at, _)] = await gateway.wait_received("smd+7+")
    assert at - freed < 65


async def test_a_session_that_was_taken_is_won_back_only_if_told_to_compete(
    autojump_clock, competing
):
    gateway = competing.gateway
    asked = answer_init(gateway, LOGGED_IN)
    competing.supervise()
    await gateway.wait_received("smd+", 2)
    assert asked == []
    gateway.status = TAKEN
    since, taken = len(gateway.received), trio.current_time()
    await gateway.send({"topic": "sts", "args": {"competing": True}})

    requests = await gateway.wait_received("smd+", 2, since=since)

    assert asked == [{"publish": True, "compete": True}]
    assert requests[-1][0] - taken < 20
    await trio.sleep(1)
    assert competing.gaps() == [
        (None, "session lost", False),
        (None, "session lost", True),
    ]


async def test_two_programs_that_both_compete_make_no_storm(autojump_clock, competing):
    gateway = competing.gateway
    gateway.status = TAKEN
    asked = answer_init(gateway, TAKEN)
    competing.supervise()

    await trio.sleep(HOUR_S)

    assert len(asked) < 130
    assert "takes it back each time" in competing.last_error


async def test_an_answer_without_a_session_after_init_is_a_lost_competition(
    autojump_clock, scene
):
    scene.gateway.status = TIMED_OUT
    answer_init(scene.gateway, TIMED_OUT | {"fail": "some reason"})
    scene.start()

    _, [reason] = await scene.wait_ended()

    assert "perhaps because another program" in str(reason)
    assert "some reason" in str(reason)


async def test_a_session_that_opens_a_little_later_is_waited_for(autojump_clock, scene):
    gateway = scene.gateway
    gateway.status = {"authenticated": True, "established": False, "connected": True}
    answer_init(gateway, gateway.status)
    scene.start()
    await trio.sleep(5)
    gateway.status = dict(LOGGED_IN)

    await gateway.wait_received("smd+7+")

    assert trio.current_time() < 15


async def test_claims_that_are_texts_are_read_as_what_they_say(autojump_clock, scene):
    scene.gateway.status = {"authenticated": "false", "connected": "false"}
    scene.start()

    _, [reason] = await scene.wait_ended()

    assert "not logged in" in str(reason)


async def test_requests_that_find_no_bridge_yet_are_repeated(autojump_clock, scene):
    scene.gateway.answers["/iserver/accounts"] = [
        (400, b"Bad Request: no bridge"),
        (400, b"Bad Request: no bridge"),
        (200, {"accounts": []}),
    ]

    [(at, _)] = await scene.start_streaming()

    assert 3 <= at < 10


async def test_a_bridge_that_never_comes_is_said(autojump_clock, scene):
    scene.gateway.answers["/iserver/accounts"] = (400, b"Bad Request: no bridge")
    scene.start()

    at, [reason] = await scene.wait_ended()

    assert "no bridge" in str(reason)
    assert at < 20


async def test_a_lock_out_of_the_keep_alive_leaves_the_stream_alone(
    autojump_clock, scene
):
    await stream_both(scene)
    scene.gateway.answers["/tickle"] = (429, b"Too Many Requests")
    await trio.sleep(60)
    barred = scene.gateway.times_of("/tickle")[-1]

    assert scene.status == "degraded"
    assert "refuses all requests for 10 minutes" in scene.last_error
    assert await tick(scene)

    del scene.gateway.answers["/tickle"]
    await trio.sleep_until(barred + 599)
    assert scene.gateway.requests[-1][0] == barred
    await trio.sleep(100)
    assert scene.gateway.requests[-1][0] > barred + 600
    assert scene.status == "connected"
    assert scene.endings == []


async def test_a_lock_out_of_the_positions_lasts_as_long_as_the_answer_says(
    autojump_clock, scene
):
    await stream_both(scene)
    path = "/portfolio/U1/positions/0"
    scene.gateway.answers[path] = (429, b"", {"Retry-After": "30"})
    scene.feed.reload(CONFIG)
    await trio.sleep(1)
    barred = scene.gateway.times_of(path)[-1]
    assert "1 minute: there were too many" in scene.last_error
    assert await tick(scene)

    scene.gateway.positions["U1"].append(make_row(8, 610))
    del scene.gateway.answers[path]
    scene.feed.reload(CONFIG)  # nothing cuts it short
    [(at, _)] = await scene.gateway.wait_received("smd+8+")

    after = [at for at, _, _ in scene.gateway.requests if at > barred]
    assert after[0] >= barred + 30
    assert scene.counts["positions.failed"] == 2  # one for each reload
    assert at < barred + 45
    assert scene.endings == []


@pytest.mark.parametrize("retry_after", ["soon", "nan", "inf", ""])
async def test_an_unreadable_penalty_is_the_usual_one(
    autojump_clock, scene, retry_after
):
    scene.gateway.answers["/tickle"] = (429, b"", {"Retry-After": retry_after})
    scene.start()

    _, [reason] = await scene.wait_ended()

    assert reason.retry_after == pytest.approx(600)


async def test_no_connection_sends_a_request_during_a_lock_out(autojump_clock, scene):
    scene.gateway.answers["/tickle"] = (429, b"")
    scene.supervise()
    await trio.sleep(599)

    assert len(scene.gateway.requests) == 1
    assert "refuses all requests" in scene.last_error

    with pytest.RaisesGroup(
        pytest.RaisesExc(FeedInterrupted, match="refuses all requests"),
        allow_unwrapped=True,
        flatten_subgroups=True,
    ):
        await scene.feed.run_connection()
    assert len(scene.gateway.requests) == 1


async def test_the_newest_session_is_given_when_asked(autojump_clock, scene):
    await scene.start_streaming()
    scene.gateway.answers["/tickle"] = (
        200,
        {"session": SESSION[::-1], "iserver": {"authStatus": LOGGED_IN}},
    )
    await trio.sleep(60)
    await scene.gateway.send({"message": "waiting for session"})

    [(_, text)] = await scene.gateway.wait_received("{")

    assert SESSION[::-1] in text


async def test_everything_is_asked_again_when_the_gateway_begins_anew(
    autojump_clock, scene
):
    await stream_both(scene)
    before = len(scene.gateway.received)
    await scene.gateway.send({"topic": "system", "success": "trader01"})

    again = await scene.gateway.wait_received("smd+", 2, since=before)

    assert {text.split("+")[1] for _, text in again} == {"7", "756733"}
    assert trio.current_time() < 10
    assert scene.counts["gateway.ready-again"] == 1


async def test_silence_is_called_silence_in_the_gaps(autojump_clock, scene):
    scene.gateway.heartbeat_s = 0
    scene.supervise()
    await scene.gateway.wait_received("smd+")
    await scene.health.wait_status("connected")
    await scene.health.wait_status("disconnected")

    assert scene.gaps()[-1] == (None, "silence", False)


async def test_the_limit_of_silence_is_configured(nursery, autojump_clock):
    scene = Scene(nursery, replace(CONFIG, silence_limit_s=12.0))
    scene.gateway.heartbeat_s = 0
    await scene.start_streaming()

    at, [reason] = await scene.wait_ended()

    assert at < 15
    assert isinstance(reason, FeedSilent)


async def test_a_pipeline_that_is_full_is_not_the_gateways_silence(
    nursery, autojump_clock
):
    scene = Scene(nursery, intake=0)
    scene.gateway.heartbeat_s = 0
    await scene.start_streaming()
    await scene.gateway.send_fields(f7308="0.5")
    await trio.sleep(10 * CONFIG.silence_limit_s)

    assert scene.endings == []
    [got] = records_of(await scene.frames.receive())
    assert got.delta == 0.5

    taken = trio.current_time()
    at, _ = await scene.wait_ended()
    assert at - taken <= 2 * CONFIG.silence_limit_s
