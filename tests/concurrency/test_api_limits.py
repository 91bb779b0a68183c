"""The limits for one client, so that the service can go on with its stream."""

from __future__ import annotations

import logging
import socket
from contextlib import suppress

import pytest
import trio
from fastapi import APIRouter
from trio.testing import wait_all_tasks_blocked

from greeks_trio.api.access.browser_sessions import BrowserSessions
from greeks_trio.api.access.guard import Guard
from greeks_trio.api.access.limits import Disconnected, Limits, read_body
from greeks_trio.api.answers import Problem, json_answer
from greeks_trio.config.settings import HttpConfig, Secret
from tests.concurrency.api_server import (
    JSON,
    WITH_TOKEN,
    parse,
    read_all,
    serving,
)

# Small values where the test waits for the effect of the limit.
SOON_S = 0.05
SCOPE = {
    "type": "http",
    "http_version": "1.1",
    "method": "GET",
    "path": "/read",
    "raw_path": b"/read",
    "query_string": b"",
    "headers": [(b"host", b"localhost")],
}
POST = b"POST /write HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


async def test_a_body_of_the_largest_size_is_taken_and_one_more_byte_is_not():
    async with serving(Limits(body_bytes=1_000)) as server:
        fits = await server.client.post("/write", content=b"x" * 1_000, headers=JSON)
        refused = await server.client.post("/write", content=b"x" * 1_001, headers=JSON)

    assert fits.status_code == 200
    assert refused.status_code == 413
    assert refused.json()["detail"] == "The body has more than 1000 bytes."
    assert server.routes.bodies == [b"x" * 1_000]


async def test_a_body_that_does_not_tell_its_size_is_counted():
    async def chunks():
        for _ in range(11):
            yield b"x" * 100

    async with serving(Limits(body_bytes=1_000)) as server:
        refused = await server.client.post("/write", content=chunks(), headers=JSON)

    assert refused.status_code == 413
    assert server.routes.bodies == []


async def test_a_client_that_sends_far_too_much_gets_the_reason_and_holds_nothing():
    """More than the server's own queue of pieces takes: a full queue once blocked it."""
    async with serving(Limits(linger_s=SOON_S)) as server:
        async with await server.connect() as stream:
            answer = b""
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send_for_ever, stream, b"x" * 65_536)
                answer = await read_all_there_is(stream)
                nursery.cancel_scope.cancel()

    assert parse(answer)[0] == 413


@pytest.mark.parametrize("path", [b"/livez", b"/nothing", b"/read"])
async def test_an_unexpected_body_has_the_same_limit(path):
    async with serving(Limits(linger_s=SOON_S)) as server:
        async with await server.connect() as stream:
            await stream.send_all(
                b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Length: 10000000\r\n\r\n"
            )
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send_pieces, stream, b"x" * 65_536, 152)
                answer = await read_all_there_is(stream)
                nursery.cancel_scope.cancel()

    assert parse(answer)[0] == 413


async def test_a_head_that_is_too_large_is_refused():
    async with serving() as server:
        status, _, body = await server.ask(
            b"GET /read HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 40_000
        )

    assert status == 431
    assert b"Request Header Fields Too Large" in body


async def test_an_address_that_is_too_long_is_refused():
    async with serving() as server:
        fits = await server.client.get("/read?q=" + "x" * 8_000)
        refused = await server.client.get("/read?q=" + "x" * 9_000)

    assert fits.status_code == 200
    assert refused.status_code == 414


@pytest.mark.parametrize(
    "sent", [b"", b"GET /read HTT", b"GET /read HTTP/1.1\r\nHost: localhost\r\nX: "]
)
async def test_a_client_that_does_not_get_on_with_its_request_is_closed(sent):
    async with serving(Limits(idle_s=SOON_S)) as server:
        assert await server.exchange(sent) == b""


async def test_a_connection_that_is_not_used_again_is_closed():
    async with serving(Limits(idle_s=SOON_S)) as server:
        answer = await server.exchange(b"GET /read HTTP/1.1\r\nHost: localhost\r\n\r\n")

    assert parse(answer)[0] == 200


async def test_a_body_that_comes_too_slowly_is_answered_and_closed():
    async with serving(Limits(body_s=SOON_S, linger_s=SOON_S)) as server:
        status, _, body = await server.ask(POST + b"Content-Length: 2\r\n\r\n{")

    assert status == 408
    assert b"after 0.05 seconds" in body
    assert server.routes.bodies == []


async def test_a_body_that_breaks_off_is_dropped():
    async with serving() as server:
        async with await server.connect() as stream:
            await stream.send_all(POST + b"Content-Length: 2\r\n\r\n{")
            await stream.send_eof()
            status, *_ = parse(await read_all(stream))
        alive = await server.client.get("/read")

    assert status == 400
    assert alive.status_code == 200
    assert server.routes.bodies == []


async def test_an_answer_that_does_not_begin_in_time_is_given_up(caplog):
    async with serving(Limits(answer_s=SOON_S)) as server:
        response = await server.client.get("/never")
        alive = await server.client.get("/read")

    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert response.headers["content-type"] == "application/problem+json"
    assert alive.status_code == 200
    assert server.routes.cancelled.is_set()
    assert "http.too_slow path='/never'" in caplog.text


async def test_an_answer_that_begins_too_late_is_not_begun():
    router = APIRouter()

    @router.get("/late")
    async def late():
        # Like code that cannot be cancelled, it answers when its time has passed.
        with suppress(trio.Cancelled):
            await trio.sleep_forever()
        return json_answer({})

    async with serving(Limits(answer_s=SOON_S), [router]) as server:
        response = await server.client.get("/late")

    assert response.status_code == 503
    assert "No answer after" in response.json()["detail"]


async def test_an_answer_that_has_begun_may_last():
    """Neither the limit for its beginning nor that for idle connections ends it."""
    limits = Limits(answer_s=SOON_S, idle_s=SOON_S, body_s=SOON_S)
    async with serving(limits) as server:
        async with await server.connect() as stream:
            await stream.send_all(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
            started_at = trio.current_time()
            while trio.current_time() < started_at + 5 * SOON_S:
                assert await stream.receive_some()
            assert not server.routes.cancelled.is_set()

        await server.routes.cancelled.wait()

    assert server.routes.cancelled.is_set()


async def test_a_client_that_stops_reading_is_given_up():
    async with serving(Limits(send_s=SOON_S)) as server:
        async with await server.connect() as stream:
            await stream.send_all(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await server.routes.cancelled.wait()

        alive = await server.client.get("/read")

    assert alive.status_code == 200


async def test_a_client_that_stops_reading_does_not_keep_the_service_from_stopping():
    """Its answer is stuck in the socket when the service is told to stop."""
    async with serving() as server:
        stream = await server.connect()
        await stream.send_all(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await wait_all_tasks_blocked(SOON_S)

    assert server.routes.cancelled.is_set()
    await stream.aclose()


CLOSING_READ = b"GET /read HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def test_when_every_place_has_an_answer_under_way_a_client_is_sent_away():
    async with serving(Limits(connections=2)) as server:
        async with await server.connect() as one, await server.connect() as two:
            for stream in (one, two):
                await stream.send_all(
                    b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n"
                )
            await wait_all_tasks_blocked(SOON_S)
            status, headers, body = await server.ask(b"")
        await wait_all_tasks_blocked(SOON_S)
        again = await server.ask(CLOSING_READ)

    assert status == 503
    assert headers[b"content-type"] == b"application/problem+json"
    assert headers[b"retry-after"] == b"1"
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert b"Service Unavailable" in body
    assert again[0] == 200
    assert server.counts == {"refused": 1}


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /re",
        POST + b"Content-Length: 10\r\n\r\n{",
        b"GET /read HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=["nothing", "half-a-head", "half-a-body", "a-request-before"],
)
async def test_clients_that_only_hold_connections_make_room(sent):
    async with serving(Limits(connections=3)) as server:
        held = [await server.connect() for _ in range(3)]
        for stream in held:
            await stream.send_all(sent)
        await wait_all_tasks_blocked(SOON_S)
        status, _, _ = await server.ask(CLOSING_READ)
        with trio.fail_after(5):
            # The oldest one is closed, perhaps after the answer to its request.
            with suppress(trio.BrokenResourceError):
                await read_all(held[0])
        for stream in held:
            await stream.aclose()

    assert status == 200
    assert server.counts == {"dropped": 1}


async def test_a_client_without_the_token_need_not_send_its_body():
    async with serving(Limits(body_s=30), **WITH_TOKEN) as server:
        with trio.fail_after(5):
            status, _, _ = await server.ask(POST + b"Content-Length: 10\r\n\r\n{")

    assert status == 401
    assert server.routes.bodies == []


async def test_a_length_that_is_given_twice_in_two_ways_is_refused():
    async with serving() as server:
        status, _, body = await server.ask(
            POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n"
            b"Connection: close\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        )

    assert status == 400
    assert b"Content-Length and Transfer-Encoding" in body
    assert server.routes.bodies == []


async def test_a_refused_write_leaves_its_connection_to_the_next_request():
    """Also when the body comes after the head that is refused."""
    async with serving() as server:
        async with await server.connect() as stream:
            await stream.send_all(
                b"POST /write HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n"
            )
            await wait_all_tasks_blocked(SOON_S)
            await stream.send_all(
                b"{}GET /read HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            )
            answers = await read_all(stream)

    assert answers.startswith(b"HTTP/1.1 415")
    assert b"HTTP/1.1 200" in answers


async def test_a_body_that_is_refused_ends_its_connection_and_says_so():
    async with serving(Limits(body_bytes=10, linger_s=SOON_S)) as server:
        status, headers, _ = await server.ask(
            POST + b"Content-Length: 11\r\n\r\n12345678901"
        )

    assert status == 413
    assert headers[b"connection"] == b"close"


async def test_a_client_that_does_not_close_after_its_last_answer_loses_its_place():
    limits = Limits(connections=1, linger_s=SOON_S)
    request = b"GET /read HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    async with serving(limits) as server:
        async with await server.connect() as stream:
            await stream.send_all(request)
            await read_all(stream)
            await wait_all_tasks_blocked(2 * SOON_S)

            status, *_ = await server.ask(request)

    assert status == 200


async def test_requests_that_are_sent_ahead_are_answered_in_their_order():
    async with serving() as server:
        answers = await server.exchange(
            b"GET /read HTTP/1.1\r\nHost: localhost\r\n\r\n"
            b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n"
            b"GET /read HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )

    statuses = [line[9:12] for line in answers.split(b"\r\n") if b"HTTP/1.1 " in line]
    assert len(statuses) == 3
    assert answers.index(b"HTTP/1.1 404") > answers.index(b"HTTP/1.1 200")


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_bytes_after_the_last_request_are_refused_without_an_error(
    method, caplog
):
    last = b" /never HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\nmore"
    async with serving() as server:
        answer = await server.exchange(method + last)

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert (b'"status":400' in body) is (method == b"GET")
    assert not caplog.records


async def test_garbage_after_an_answer_to_head_gets_a_whole_problem():
    async with serving() as server, await server.connect() as stream:
        await stream.send_all(b"HEAD /read HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await stream.receive_some()).endswith(b"\r\n\r\n")
        await stream.send_all(b"\x00\r\n\r\n")
        status, _, body = parse(await read_all(stream))

    assert status == 400
    assert b'"status":400' in body


async def test_a_client_that_expects_100_continue_gets_it():
    async with serving() as server:
        async with await server.connect() as stream:
            await stream.send_all(
                POST + b"Content-Length: 2\r\nConnection: close\r\n"
                b"Expect: 100-continue\r\n\r\n"
            )
            leave = await stream.receive_some()
            await stream.send_all(b"{}")
            answer = await read_all(stream)

    assert leave.startswith(b"HTTP/1.1 100 ")
    assert parse(answer)[0] == 200
    assert server.routes.bodies == [b"{}"]


async def test_a_client_that_resets_its_connection_disturbs_no_other(caplog):
    async with serving() as server:
        for sent in (b"", b"GET /never HTTP/1.1\r\nHost: localhost\r\n\r\n"):
            stream = await server.connect()
            await stream.send_all(sent)
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # on, for 0 seconds
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            await stream.aclose()
        alive = await server.client.get("/read")

    assert alive.status_code == 200
    assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []


async def test_a_wrong_token_is_answered_late_and_a_missing_one_at_once(autojump_clock):
    guard = Guard(None, HttpConfig(), BrowserSessions(WITH_TOKEN["token"]))
    took = []
    for headers in ([], [(b"authorization", b"Bearer guess")]):
        begun_at = trio.current_time()
        sent = await ask(guard, [(b"host", b"localhost"), *headers])
        took.append(trio.current_time() - begun_at)

        assert sent[0]["status"] == 401

    assert took == [0, 0.5]


async def test_the_time_limit_of_the_body_is_for_the_whole_body(autojump_clock):
    async def receive():
        await trio.sleep(3)
        return {"type": "http.request", "body": b"x", "more_body": True}

    with pytest.raises(Problem, match="10 seconds"):
        await read_body(receive, Limits())

    assert trio.current_time() == 10


async def test_the_rest_of_a_body_is_taken_while_the_refusal_is_sent(
    autojump_clock,
):
    """The server's queue of pieces is short, and the end of an answer passes through it."""
    taken = 0
    is_enough = trio.Event()

    async def receive():
        nonlocal taken
        await trio.lowlevel.checkpoint()
        taken += 1
        if taken == 50:
            is_enough.set()
            await trio.sleep_forever()
        return {"type": "http.request", "body": b"xx", "more_body": True}

    async def send(message):
        sent.append(message)
        await is_enough.wait()

    sent = []
    guard = Guard(
        None, HttpConfig(), BrowserSessions(Secret("")), limits=Limits(body_bytes=1)
    )
    with trio.fail_after(1):
        await guard(SCOPE, receive, send)

    assert sent[0]["status"] == 413


async def test_a_body_without_an_end_is_not_a_body():
    async def receive():
        await trio.lowlevel.checkpoint()
        return {"type": "http.disconnect"}

    with pytest.raises(Disconnected):
        await read_body(receive, Limits())


async def ask(guard, headers):
    """Return the messages of the guard's answer to a request."""
    sent = []

    async def receive():
        await trio.lowlevel.checkpoint()
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        await trio.lowlevel.checkpoint()
        sent.append(message)

    await guard(SCOPE | {"headers": headers}, receive, send)
    return sent


async def send_for_ever(stream, piece):
    head = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    try:
        await stream.send_all(head)
        while True:
            await stream.send_all(b"%x\r\n" % len(piece) + piece + b"\r\n")
    except trio.BrokenResourceError:
        pass  # the server has had enough


async def send_pieces(stream, piece, number):
    try:
        for _ in range(number):
            await stream.send_all(piece)
    except trio.BrokenResourceError:
        pass  # the server has had enough


async def read_all_there_is(stream):
    """Return the bytes until the other side closes the connection or resets it."""
    data = b""
    try:
        while chunk := await stream.receive_some():
            data += chunk
    except trio.BrokenResourceError:
        pass
    return data
