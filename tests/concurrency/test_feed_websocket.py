"""Over real sockets, so with the real clock."""

from __future__ import annotations

import pytest
import trio
from trio_websocket import ConnectionClosed, wrap_server_stream

from greeks_trio.errors import FeedInterrupted, leaves
from greeks_trio.feeds import websocket
from greeks_trio.feeds.websocket import Endpoint, open_websocket
from tests.concurrency.websocket_server import echo, failure_of, serve, unused_port


def connect(port, **changes):
    url = f"ws://user:secret@127.0.0.1:{port}/v1/ws?token=secret"
    return open_websocket(
        Endpoint(**({"url": url, "peer": "the peer", "tls": None} | changes))
    )


async def receive_one(socket):
    [message] = await socket.receive()
    return message


async def accept_and_freeze(stream):
    async with trio.open_nursery() as nursery:
        request = await wrap_server_stream(nursery, stream)
        await request.accept()
        nursery.cancel_scope.cancel()
    await trio.sleep_forever()


async def test_what_is_sent_arrives():
    async with serve(echo) as port, connect(port, headers=[(b"X-One", b"1")]) as socket:
        assert "x-one: 1" in (await receive_one(socket)).lower()

        await socket.send("hello")

        assert await receive_one(socket) == "hello"


async def test_frames_of_several_mib_come_through():
    frame = "x" * (4 * 2**20)

    async def send_large(stream):
        async with trio.open_nursery() as nursery:
            peer = await (await wrap_server_stream(nursery, stream)).accept()
            await peer.send_message(frame)
            with trio.move_on_after(5):
                await wait_close(peer)
            nursery.cancel_scope.cancel()

    async with serve(send_large) as port:
        async with connect(port, max_frame_bytes=8 * 2**20) as socket:
            assert await receive_one(socket) == frame


async def test_a_frame_beyond_the_limit_ends_the_connection_and_blames_no_request():
    async with serve(echo) as port:
        failure = await failure_of(connect(port, max_frame_bytes=10))

        assert "Exceeded maximum message size" in str(failure)

        with pytest.RaisesGroup(FeedInterrupted, flatten_subgroups=True):
            async with connect(port, max_frame_bytes=10) as socket:
                try:
                    await socket.receive()
                finally:
                    assert not socket.was_request_too_long


async def test_a_request_that_the_peer_finds_too_long_is_told_apart():
    async def refuse(stream):
        async with trio.open_nursery() as nursery:
            peer = await (await wrap_server_stream(nursery, stream)).accept()
            await peer.aclose(code=1009, reason="too long")
            nursery.cancel_scope.cancel()

    async with serve(refuse) as port:
        with pytest.RaisesGroup(FeedInterrupted, flatten_subgroups=True):
            async with connect(port) as socket:
                try:
                    await socket.receive()
                finally:
                    assert socket.was_request_too_long


async def test_a_close_by_the_peer_gives_its_code_and_words():
    async def close(stream):
        async with trio.open_nursery() as nursery:
            peer = await (await wrap_server_stream(nursery, stream)).accept()
            await peer.aclose(code=1012, reason="restart")
            nursery.cancel_scope.cancel()

    async with serve(close) as port:
        failure = await failure_of(connect(port))

    assert str(failure) == "the peer closed the connection (1012 restart)"


async def test_a_port_without_a_listener_is_no_connection():
    failure = await failure_of(connect(port := await unused_port()))

    assert str(failure).startswith(
        f"cannot connect to the peer at ws://127.0.0.1:{port}/v1/ws: "
    )
    assert "secret" not in str(failure)


async def test_a_refused_upgrade_says_the_status_and_when_to_come_back():
    async def refuse(stream):
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, stream)
            await request.reject(503, extra_headers=[(b"Retry-After", b"17")])
            nursery.cancel_scope.cancel()

    async with serve(refuse) as port:
        failure = await failure_of(connect(port))

    assert str(failure).endswith(": it answered 503")
    assert (failure.http_status, failure.retry_after) == (503, 17.0)


async def test_a_refused_upgrade_with_a_body_says_the_status():
    async def refuse(stream):
        await stream.receive_some(10_000)
        await stream.send_all(
            b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nbad"
        )
        await stream.receive_some(10_000)

    async with serve(refuse) as port:
        failure = await failure_of(connect(port))

    assert failure.http_status == 502


async def test_a_peer_that_never_upgrades_is_given_up(monkeypatch):
    monkeypatch.setattr(websocket, "CONNECT_LIMIT_S", 0.05)

    async def say_nothing(_stream):
        await trio.sleep_forever()

    async with serve(say_nothing) as port:
        assert "does not answer" in str(await failure_of(connect(port)))


async def test_bytes_that_are_no_websocket_frame_end_the_connection():
    async def babble(stream):
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, stream)
            await request.accept()
            await stream.send_all(b"\xff" * 64)
            nursery.cancel_scope.cancel()

    async with serve(babble) as port:
        assert "(1002 " in str(await failure_of(connect(port)))


async def test_a_dead_peer_does_not_hold_up_the_end(monkeypatch):
    monkeypatch.setattr(websocket, "CLOSE_LIMIT_S", 0.05)

    async with serve(accept_and_freeze) as port:
        with trio.fail_after(5):
            async with connect(port):
                pass


async def test_the_error_inside_the_block_survives_a_dead_peer(monkeypatch):
    monkeypatch.setattr(websocket, "CLOSE_LIMIT_S", 0.05)
    found = []

    async with serve(accept_and_freeze) as port:
        try:
            async with connect(port):
                raise FeedInterrupted("for this reason")  # noqa: TRY301
        except* FeedInterrupted as group:
            found += map(str, leaves(group))

    assert found == ["for this reason"]


async def wait_close(peer):
    """Return the code of the close frame that the peer gets."""
    try:
        while True:
            await peer.get_message()
    except ConnectionClosed as exc:
        return exc.reason.code


@pytest.mark.parametrize("frames", [0, 100])
async def test_a_cancelled_block_sends_a_close_frame_and_waits_for_its_answer_only(
    monkeypatch, frames
):
    """Also when the peer has sent more than anybody has read."""
    monkeypatch.setattr(websocket, "CLOSE_LIMIT_S", 3600)
    codes, greeted = [], trio.Event()

    async def accept(stream):
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, stream)
            peer = await request.accept()
            for _ in range(frames):
                await peer.send_message(b"{}")
            greeted.set()
            codes.append(await wait_close(peer))

    async with serve(accept) as port:
        with trio.fail_after(5), trio.CancelScope() as scope:
            async with connect(port):
                await greeted.wait()
                scope.cancel()
                await trio.sleep_forever()

    assert scope.cancelled_caught
    assert codes == [1000]


async def test_a_cancelled_block_leaves_a_dead_peer_after_the_limit(monkeypatch):
    monkeypatch.setattr(websocket, "CLOSE_LIMIT_S", 0.05)

    async with serve(accept_and_freeze) as port:
        with trio.fail_after(5), trio.CancelScope() as scope:
            async with connect(port):
                scope.cancel()
                await trio.sleep_forever()

    assert scope.cancelled_caught


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope after the n-th step of this task from here."""

    def __init__(self, step, scope):
        self.task = trio.lowlevel.current_task()
        self.step = step
        self.scope = scope

    def after_task_step(self, task):
        if task is self.task:
            self.step -= 1
            if self.step == 0:
                self.scope.cancel()


@pytest.mark.parametrize("step", range(1, 25))
async def test_a_stop_at_any_moment_of_the_opening_ends_at_once(step, monkeypatch):
    monkeypatch.setattr(websocket, "CLOSE_LIMIT_S", 3600)

    async def accept(stream):
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, stream)
            await wait_close(await request.accept())

    async with serve(accept) as port:
        with trio.fail_after(5), trio.CancelScope() as scope:
            trio.lowlevel.add_instrument(CancelAtStep(step, scope))
            async with connect(port):
                await trio.lowlevel.checkpoint()
                scope.cancel()
                await trio.sleep_forever()

    assert scope.cancelled_caught
