"""Exports over HTTP, from a fake timeline: formats, failures, clients that leave."""

from __future__ import annotations

from contextlib import asynccontextmanager

import httpx2
import pytest
import trio

from greeks_trio.api.lists import exports
from greeks_trio.errors import (
    ReadTooLong,
    StoreUnavailable,
)
from tests.concurrency.api_server import read_all
from tests.concurrency.fake_timeline import EVERY_LIST, TICKS, FakeTimeline
from tests.timeline import serving


@pytest.fixture
def timeline():
    return FakeTimeline()


@pytest.mark.parametrize(
    ("query", "accept", "content_type", "text"),
    [
        ("?format=csv", "*/*", "text/csv; charset=utf-8", "head\n1\n2\n"),
        ("?format=ndjson", "*/*", "application/x-ndjson", "1\n2\n"),
        ("", "text/csv", "text/csv; charset=utf-8", "head\n1\n2\n"),
        ("", "application/x-ndjson; q=0.9, */*", "application/x-ndjson", "1\n2\n"),
        ("?format=csv", "application/json", "text/csv; charset=utf-8", "head\n1\n2\n"),
    ],
)
async def test_an_export_has_the_wanted_format(
    timeline, query, accept, content_type, text
):
    async with serving(timeline) as client:
        answer = await client.get(f"{TICKS}{query}", headers={"Accept": accept})

    assert answer.status_code == 200
    assert answer.headers["content-type"] == content_type
    assert answer.text == text
    assert timeline.open_exports == 0


@pytest.mark.parametrize("accept", ["application/json, text/csv", "*/*", "text/html"])
async def test_json_is_the_default(timeline, accept):
    async with serving(timeline) as client:
        answer = await client.get(TICKS, headers={"Accept": accept})

    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", EVERY_LIST)
async def test_every_list_can_be_exported(timeline, path):
    async with serving(timeline) as client:
        answer = await client.get(path, headers={"Accept": "text/csv"})

    assert answer.text == "head\n1\n2\n"
    assert timeline.asked == [(EVERY_LIST[path], "csv", None)]


async def test_an_export_of_nothing_has_its_header(timeline):
    timeline.chunks = []
    async with serving(timeline) as client:
        answer = await client.get(f"{TICKS}?format=csv")

    assert answer.text == "head\n"


async def test_an_export_that_fails_at_once_is_a_problem(timeline):
    timeline.chunks = [ReadTooLong("x")]
    async with serving(timeline) as client:
        answer = await client.get(f"{TICKS}?format=csv")

    assert answer.status_code == 504


async def test_an_export_that_fails_midway_is_broken_off(timeline):
    timeline.chunks = [b"1\n", StoreUnavailable("s3cret")]
    async with serving(timeline) as client:
        received = []
        with pytest.raises(httpx2.RemoteProtocolError):
            await _read_into(received, client, f"{TICKS}?format=csv")

    assert received[0] == 200
    assert b"".join(received[1:]) == b"head\n1\n"
    assert timeline.open_exports == 0


async def _read_into(received, client, path):
    async with client.stream("GET", path) as answer:
        received.append(answer.status_code)
        async for chunk in answer.aiter_bytes():
            received.append(chunk)


class EndlessLines:
    async def next_lines(self):
        await trio.lowlevel.checkpoint()
        return b"0123456789" * 1_000 + b"\n"


class SilentLines:
    async def next_lines(self):
        await trio.sleep_forever()


@pytest.mark.parametrize("lines", [EndlessLines(), SilentLines()])
async def test_an_export_ends_when_its_client_leaves(timeline, lines):
    """In both states: it sends rows, or waits for them."""

    @asynccontextmanager
    async def export(*_, **__):
        timeline.open_exports += 1
        try:
            yield b"head\n", lines
        finally:
            timeline.open_exports -= 1
            timeline.has_closed.set()

    timeline.export = export
    async with serving(timeline) as client:
        port = client.base_url.port
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(
            f"GET {TICKS}?format=csv HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        )
        if isinstance(lines, EndlessLines):
            assert await stream.receive_some()
        while not timeline.open_exports:
            await trio.lowlevel.checkpoint()
        await stream.aclose()

        await timeline.has_closed.wait()

    assert timeline.open_exports == 0


async def test_an_export_whose_client_does_not_read_is_broken_off_and_logged(
    timeline, monkeypatch, caplog
):
    @asynccontextmanager
    async def export(*_, **__):
        try:
            yield b"head\n", EndlessLines()
        finally:
            timeline.has_closed.set()

    timeline.export = export
    monkeypatch.setattr(exports, "WRITE_LIMIT_S", 0.3)
    async with serving(timeline) as client:
        stream = await trio.open_tcp_stream("127.0.0.1", client.base_url.port)
        async with stream:
            await stream.send_all(
                f"GET {TICKS}?format=csv HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            )
            await timeline.has_closed.wait()
            received = await read_all(stream)

    said = [text for text in caplog.messages if text.startswith("export.")]
    assert said == [
        "export.broken_off list=greek_snapshots reason=client-does-not-read"
    ]
    # The last chunk is missing: it would say that the answer is complete.
    assert received.startswith(b"HTTP/1.1 200")
    assert not received.endswith(b"0\r\n\r\n")


async def test_an_export_to_a_slow_client_ends_at_its_limit(timeline, caplog):
    """The client reads a little now and then, so no single piece waits too long."""

    @asynccontextmanager
    async def export(*_, **__):
        try:
            yield b"head\n", EndlessLines()
        finally:
            timeline.has_closed.set()

    timeline.export = export
    timeline.export_timeout_s = 0.5
    async with serving(timeline) as client:
        stream = await trio.open_tcp_stream("127.0.0.1", client.base_url.port)
        async with stream:
            await stream.send_all(
                f"GET {TICKS}?format=csv HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            )
            with trio.fail_after(10):
                while not timeline.has_closed.is_set():
                    await stream.receive_some(9_000)
                    await trio.sleep(0.05)
            received = await read_all(stream)

    [said] = [text for text in caplog.messages if text.startswith("export.")]
    assert "not complete after 0.5 s" in said
    assert "GREEKS_HTTP_EXPORT_TIMEOUT_S" in said
    assert not received.endswith(b"0\r\n\r\n")


async def test_an_export_that_does_not_begin_in_time_is_a_problem(timeline):
    @asynccontextmanager
    async def export(*_, **__):
        await trio.sleep_forever()
        yield

    timeline.export = export
    timeline.export_timeout_s = 0.1
    async with serving(timeline) as client:
        answer = await client.get(TICKS, params={"format": "csv"})

    assert answer.status_code == 504
    assert "has not begun" in answer.json()["detail"]
