"""Sessions that come back, their requests, and the end of a connection."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.concurrency.ibkr_gateway import CONFIG, Scene, T, make_row
from tests.concurrency.test_ibkr_session_loss import stream_both

UNDERLYING = 756733
HOUR_S = 3600.0
LOST = {"topic": "sts", "args": {"authenticated": False}}


@pytest.fixture
def scene(nursery):
    return Scene(nursery)


async def test_a_session_that_was_won_back_is_asked_for_accounts_before_its_streams(
    autojump_clock, scene
):
    await stream_both(scene)
    since = len(scene.gateway.received)
    before = len(scene.gateway.times_of("/iserver/accounts"))
    await scene.gateway.send(LOST)

    [(at, _)] = await scene.gateway.wait_received("smd+7+", since=since)

    asked = scene.gateway.times_of("/iserver/accounts")[before:]
    assert len(asked) == 1
    assert asked[0] < at


async def test_a_session_without_its_bridge_is_doubted_until_it_has_it(
    autojump_clock, scene
):
    await stream_both(scene)
    requested = len(scene.gateway.sent("smd+7+"))
    scene.gateway.answers["/iserver/accounts"] = (400, b"Bad Request: no bridge")
    await scene.gateway.send(LOST)
    await trio.sleep(60)
    assert scene.status == "degraded"
    assert "no bridge" in scene.last_error
    assert len(scene.gateway.sent("smd+7+")) == requested

    del scene.gateway.answers["/iserver/accounts"]
    back = trio.current_time()
    [*_, (at, _)] = await scene.gateway.wait_received("smd+7+", requested + 1)
    assert at - back < 30
    for conid in (7, UNDERLYING):
        await scene.gateway.send_fields(conid, at=T + 1, f7308="0.5")
    await trio.sleep(20)
    assert scene.status == "connected"
    assert scene.endings == []


async def test_positions_that_are_refused_are_asked_for_after_the_accounts(
    autojump_clock, scene
):
    await stream_both(scene)
    path = "/portfolio/U1/positions/0"
    scene.gateway.positions["U1"].append(make_row(8, 610))
    scene.gateway.answers[path] = (500, {"error": "please query /accounts first"})
    before = len(scene.gateway.times_of("/portfolio/accounts"))
    scene.feed.reload(CONFIG)
    await trio.sleep(5)
    assert "please query /accounts first" in scene.last_error

    scene.gateway.answers["/portfolio/accounts"] = answer_accounts(scene.gateway, path)
    await scene.gateway.wait_received("smd+8+")
    assert len(scene.gateway.times_of("/portfolio/accounts")) == before + 1


def answer_accounts(gateway, path):
    """Answer that request, and from then on the one for positions."""

    def answer(_content, _params):
        gateway.answers.pop(path, None)
        return 200, [{"accountId": "U1"}, {"accountId": "U2"}]

    return answer


async def test_a_gateway_that_closes_each_connection_at_once_meets_no_storm(
    autojump_clock, scene
):
    scene.gateway.closes_at_once = True
    scene.supervise()
    await trio.sleep(HOUR_S)

    # Each is a login of its own, which a session that was lost in the night needs.
    assert 50 < scene.gateway.connections < 130
    assert len(scene.gateway.requests) < 10 * scene.gateway.connections
    assert "closed the connection (1000" in scene.last_error

    scene.gateway.closes_at_once = False
    over = trio.current_time()
    [(at, _)] = await scene.gateway.wait_received("smd+7+")
    assert at - over < 65


async def test_a_stop_gives_the_lines_back(autojump_clock, scene):
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scene.feed.run_connection)
            await scene.gateway.wait_received("smd+", 2)
            asked = trio.current_time()
            scope.cancel()

    await trio.testing.wait_all_tasks_blocked()
    assert sorted(scene.gateway.sent("umd+")) == ["umd+7+{}", f"umd+{UNDERLYING}+{{}}"]
    assert scene.gateway.sent_at("umd+") == [asked, asked]


async def test_a_lost_connection_is_not_held_up_by_lines_to_give_back(
    autojump_clock, scene
):
    await scene.start_streaming(2)
    closed = trio.current_time()
    await scene.gateway.close()

    at, _ = await scene.wait_ended()

    assert at - closed < 1
    assert scene.gateway.sent("umd+") == []


async def test_a_stranger_in_the_cookies_answer_is_only_counted(autojump_clock, scene):
    """A gateway that knows us from the cookie takes the session for a topic."""
    await stream_both(scene)
    await scene.gateway.send({"message": "waiting for session"})
    await scene.gateway.wait_received('{"session"')
    await scene.gateway.send({"error": "Topic unknown '{\"s'", "code": 1})
    await trio.sleep(1)

    assert scene.counts["gateway.error"] == 1
    assert scene.status == "connected"
