"""Lists over HTTP, answered by a fake timeline: parameters, formats, cursors, errors."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from uuid import UUID

import httpx2
import msgspec
import pytest
import trio

from greeks_trio.api.lists import exports, resources
from greeks_trio.api.lists.resources import SNAPSHOTS
from greeks_trio.errors import (
    ReadsBusy,
    ReadTooLong,
    StoreRejected,
    StoreUnavailable,
)
from greeks_trio.postgres.reads.pages import Page
from greeks_trio.postgres.reads.trades import RecordedTrade
from tests.concurrency.api_server import read_all
from tests.timeline import STALE_AFTER_S, listing_of, serving

AT = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
TICKS = "/v1/greeks/snapshots"
EVERY_LIST = {
    TICKS: listing_of(SNAPSHOTS),
    "/v1/greeks/latest": listing_of(resources.LATEST),
    "/v1/greeks/asof?at=2026-11-20T15:30:00Z": listing_of(resources.AS_OF, at=AT),
    "/v1/positions": listing_of(resources.POSITIONS),
    "/v1/portfolio": listing_of(resources.PORTFOLIO),
    "/v1/divergence": listing_of(resources.DIVERGENCE),
    "/v1/gaps": listing_of(resources.GAPS),
    "/v1/trades": listing_of(resources.TRADES),
}
TRADE = {
    "broker": "ibkr",
    "account_id": "U1",
    "symbol": "SPY",
    "action": "buy",
    "quantity": 1,
}

WITH_METADATA = msgspec.json.encode(TRADE)[:-1] + b',"metadata":'


class FakeTimeline:
    """Keeps its calls, and answers as the test says.

    Attributes:
        chunks: Of every export; an exception among them is raised.
    """

    def __init__(self):
        self.stale_after_s = STALE_AFTER_S
        self.asked = []
        self.error = None
        self.page_answer = Page(items=b'[{"id":1}]', position=None)
        self.chunks = [b"1\n", b"2\n"]
        self.recorded = RecordedTrade(item=b'{"id":1}', is_new=True, is_same=True)
        self.open_exports = 0
        self.has_closed = trio.Event()

    async def page(self, listing, after, limit):
        await trio.lowlevel.checkpoint()
        self.asked.append((listing, after, limit))
        if self.error is not None:
            raise self.error
        return self.page_answer

    @asynccontextmanager
    async def export(self, listing, form, limit=None):
        if self.error is not None:
            raise self.error
        self.asked.append((listing, form, limit))
        self.open_exports += 1
        try:
            yield b"head\n" if form == "csv" else b"", FakeLines(list(self.chunks))
        finally:
            self.open_exports -= 1
            self.has_closed.set()

    async def record(self, trade, columns):
        await trio.lowlevel.checkpoint()
        self.asked.append(trade)
        if self.error is not None:
            raise self.error
        return self.recorded


class FakeLines:
    def __init__(self, chunks):
        self.chunks = chunks

    async def next_lines(self):
        await trio.lowlevel.checkpoint()
        chunk = self.chunks.pop(0) if self.chunks else b""
        if isinstance(chunk, Exception):
            raise chunk
        return chunk


@pytest.fixture
def timeline():
    return FakeTimeline()


@pytest.mark.parametrize("path", EVERY_LIST)
async def test_every_list_is_a_page_of_items(timeline, path):
    async with serving(timeline) as client:
        answer = await client.get(path)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"items": [{"id": 1}], "next_cursor": None}
    assert timeline.asked == [(EVERY_LIST[path], None, 500)]


@pytest.mark.parametrize(
    ("query", "values"),
    [
        ("broker=ibkr", {"broker": "ibkr"}),
        ("account_id=U1", {"account_id": "U1"}),
        (
            "contract_key=SPY%20%20%20261218C00600000",
            {"contract_key": "SPY   261218C00600000"},
        ),
        ("underlying=BRK/B", {"underlying": "BRK/B"}),
        ("option_type=put", {"option_type": "put"}),
        (
            "expiration_from=2026-12-18&expiration_to=2026-12-18",
            {
                "expiration_from": date(2026, 12, 18),
                "expiration_to": date(2026, 12, 18),
            },
        ),
        ("start=2026-11-20T15:30:00Z", {"start": AT}),
        ("end=2026-11-20T10:30:00-05:00", {"end": AT}),
        # A plus sign that is not percent-encoded arrives as a space.
        ("start=2026-11-20T16:30:00+01:00", {"start": AT}),
    ],
)
async def test_a_parameter_is_a_filter(timeline, query, values):
    async with serving(timeline) as client:
        answer = await client.get(f"{TICKS}?{query}")

    assert answer.status_code == 200
    assert timeline.asked == [(listing_of(SNAPSHOTS, **values), None, 500)]


@pytest.mark.parametrize(
    "query",
    [
        "brokr=ibkr",
        "broker=schwab",
        "broker=",
        "account_id=",
        "account_id=%00",
        f"account_id={'x' * 65}",
        "option_type=C",
        "expiration_from=20261218",
        "expiration_from=2026-12-18T00:00:00Z",
        "expiration_from=2026-12-19&expiration_to=2026-12-18",
        "start=2026-11-20",
        "start=2026-11-20T15:30:00",
        "start=1763653800",
        "start=yesterday",
        "start=2026-11-21T00:00:00Z&end=2026-11-20T00:00:00Z",
        "limit=0",
        "limit=5001",
        "limit=all",
        "format=xml",
        "include=everything",
        "cursor=abc",
        "cursor=",
        "cursor=%C3%A4",
        "format=csv&cursor=abc",
    ],
)
async def test_an_unknown_parameter_or_value_is_refused(timeline, query):
    async with serving(timeline) as client:
        answer = await client.get(f"{TICKS}?{query}")

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert timeline.asked == []


async def test_the_reason_of_a_refusal_is_in_our_own_words(timeline):
    async with serving(timeline) as client:
        answer = await client.get(f"{TICKS}?start=2026-11-20")

    assert answer.json()["errors"] == [
        {
            "where": "query.start",
            "reason": "has to be a time with its zone, such as 2026-11-20T15:30:00Z",
        }
    ]


async def test_the_payload_comes_only_when_wanted(timeline):
    async with serving(timeline) as client:
        await client.get(f"{TICKS}?include=payload&limit=7")

    listing = listing_of(SNAPSHOTS, include="payload")
    assert timeline.asked == [(listing, None, 7)]


async def test_a_cursor_leads_to_the_position_where_the_page_ended(timeline):
    position = ["2026-11-20T15:30:00.000000Z", "2026-11-20T15:30:00.000000Z", 9]
    timeline.page_answer = Page(items=b"[]", position=position)
    async with serving(timeline) as client:
        cursor = (await client.get(f"{TICKS}?broker=ibkr")).json()["next_cursor"]
        # Another limit is another page, not another list.
        await client.get(f"{TICKS}?broker=ibkr&limit=2&cursor={cursor}")

    listing = listing_of(SNAPSHOTS, broker="ibkr")
    assert timeline.asked[1] == (listing, position, 2)


@pytest.mark.parametrize(
    "path",
    [TICKS, f"{TICKS}?broker=tastytrade", "/v1/greeks/latest?broker=ibkr"],
)
async def test_a_cursor_of_other_filters_is_refused(timeline, path):
    timeline.page_answer = Page(items=b"[]", position=["a", "b", 9])
    async with serving(timeline) as client:
        cursor = (await client.get(f"{TICKS}?broker=ibkr")).json()["next_cursor"]
        answer = await client.get(httpx2.URL(path).copy_add_param("cursor", cursor))

    assert answer.status_code == 422
    assert "other filters" in answer.json()["detail"]


async def test_a_cursor_of_another_version_is_refused(timeline):
    timeline.page_answer = Page(items=b"[]", position=["a", "b", 9])
    async with serving(timeline) as client:
        cursor = (await client.get(TICKS)).json()["next_cursor"]
        version, *rest = msgspec.json.decode(urlsafe_b64decode(cursor + "=="))
        other = urlsafe_b64encode(msgspec.json.encode([version + 1, *rest]))
        answer = await client.get(TICKS, params={"cursor": other.decode().rstrip("=")})

    assert answer.status_code == 422
    assert len(timeline.asked) == 1


@pytest.mark.parametrize(
    ("error", "status", "has_retry_after"),
    [
        (ReadsBusy("x"), 503, True),
        (StoreUnavailable("s3cret"), 503, True),
        (ReadTooLong("s3cret"), 504, False),
        (StoreRejected("s3cret"), 422, False),
    ],
)
@pytest.mark.parametrize("query", ["", "?format=csv"])
async def test_an_error_of_the_database_is_a_problem_in_plain_words(
    timeline, query, error, status, has_retry_after
):
    timeline.error = error
    async with serving(timeline) as client:
        answer = await client.get(f"{TICKS}{query}")

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert ("retry-after" in answer.headers) is has_retry_after
    assert "s3cret" not in answer.text


@pytest.mark.parametrize("query", ["", "?format=csv"])
async def test_the_problem_of_a_slow_read_says_how_to_ask_for_less(timeline, query):
    timeline.error = ReadTooLong("x")
    async with serving(timeline) as client:
        answer = await client.get(f"{TICKS}{query}")

    detail = answer.json()["detail"]
    assert all(f"`{name}`" in detail for name in ("start", "end", "contract_key"))


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


async def test_a_new_trade_is_created(timeline):
    body = TRADE | {"id": "0b8d1f0e-7c1f-4f0e-9d55-3f5a5d3a7a11"}
    async with serving(timeline) as client:
        answer = await client.post("/v1/trades", json=body)

    assert answer.status_code == 201
    assert answer.json() == {"id": 1}
    assert timeline.asked[0].id == UUID(body["id"])


async def test_the_body_of_a_trade_is_described_or_says_nothing(timeline):
    async with serving(timeline) as client:
        description = (await client.get("/openapi.json")).json()

    body = description["paths"]["/v1/trades"]["post"]["requestBody"]
    columns = body["content"]["application/json"]["schema"]["properties"]
    assert all(column.get("description") != "" for column in columns.values())
    assert columns["contract_key"]["pattern"]
    created = description["paths"]["/v1/trades"]["post"]["responses"]["201"]
    row = created["content"]["application/json"]["schema"]["properties"]
    assert row["created_at"]["type"] == "string"


async def test_a_trade_without_an_id_gets_one(timeline):
    async with serving(timeline) as client:
        await client.post("/v1/trades", json=TRADE)
        await client.post("/v1/trades", json=TRADE)

    first, second = timeline.asked
    assert first.id != second.id


@pytest.mark.parametrize(
    ("is_same", "status"),
    [(True, 200), (False, 409)],
)
async def test_a_trade_that_is_there_already(timeline, is_same, status):
    timeline.recorded = RecordedTrade(item=b"{}", is_new=False, is_same=is_same)
    async with serving(timeline) as client:
        answer = await client.post("/v1/trades", json=TRADE)

    assert answer.status_code == status


@pytest.mark.parametrize("text", ["0.100000000000000", '"0.100000000000000"'])
async def test_numbers_arrive_with_all_of_their_digits(timeline, text):
    body = msgspec.json.encode(TRADE)[:-1] + f',"price":{text}}}'.encode()
    headers = {"Content-Type": "application/json"}
    async with serving(timeline) as client:
        answer = await client.post("/v1/trades", content=body, headers=headers)

    assert answer.status_code == 201
    [trade] = timeline.asked
    assert str(trade.price) == "0.100000000000000"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("SPY   261218C00600000", "SPY   261218C00600000"),
        ("SPY261218C00600000", "SPY   261218C00600000"),
        (" spy 261218c00600000 ", "SPY   261218C00600000"),
        ("./LO  260317P56", "./LO  260317P56"),
        ("./LO260317P56.50", "./LO  260317P56.5"),
        (None, None),
    ],
)
async def test_a_contract_key_is_kept_as_the_ticks_have_it(timeline, sent, kept):
    async with serving(timeline) as client:
        answer = await client.post("/v1/trades", json=TRADE | {"contract_key": sent})

    assert answer.status_code == 201
    assert [trade.contract_key for trade in timeline.asked] == [kept]


@pytest.mark.parametrize(
    "change",
    [
        {"quantity": 0},
        {"quantity": "0.00"},
        {"quantity": "NaN"},
        {"quantity": "Infinity"},
        {"quantity": "1e15"},
        {"quantity": "0.0000000000000001"},
        {"quantity": None},
        {"quantity": True},
        {"quantity": [1]},
        {"price": "NaN"},
        {"price": "a lot"},
        {"broker": "schwab"},
        {"account_id": ""},
        {"symbol": "x" * 65},
        {"action": "a\x00b"},
        {"strategy_tag": ""},
        {"contract_key": 7},
        {"contract_key": "garbage"},
        {"contract_key": " "},
        {"contract_key": "SPY"},
        {"contract_key": "SPY261218C600"},
        {"contract_key": "SPY261318C00600000"},
        {"contract_key": "SPY261218C0060000\u0660"},
        {"contract_key": "./LO261317P56"},
        {"contract_key": "./LO260317P" + "9" * 40},
        {"created_at": "2026-11-20T15:30:00"},
        {"created_at": "yesterday"},
        {"created_at": "0001-01-01T00:00:00+14:00"},
        {"created_at": "9999-12-31T23:59:59-12:00"},
        {"metadata": []},
        {"metadata": "text"},
        {"metadata": {"text": "x" * 16_384}},
        {"id": "7"},
        {"colour": "red"},
    ],
)
async def test_a_trade_that_makes_no_sense_is_refused(timeline, change):
    async with serving(timeline) as client:
        answer = await client.post("/v1/trades", json=TRADE | change)

    assert answer.status_code == 422
    assert timeline.asked == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"x", 400),
        (b"\xff", 400),
        (WITH_METADATA + b'{"a":"\\ud800"}}', 400),
        (WITH_METADATA + b'{"a":"\xff"}}', 400),
        (b"[]", 422),
        (b"null", 422),
        (b'{"metadata": ' + b'{"a":' * 3_000 + b"1" + b"}" * 3_000 + b"}", 422),
        (WITH_METADATA + b'{"a":' * 2_700 + b"1" + b"}" * 2_700 + b"}", 422),
        (WITH_METADATA + b'{"a":1e999}}', 422),
    ],
)
async def test_a_body_that_is_no_trade_is_refused(timeline, body, status):
    """With another status if it is not JSON."""
    headers = {"Content-Type": "application/json"}
    async with serving(timeline) as client:
        answer = await client.post("/v1/trades", content=body, headers=headers)

    assert answer.status_code == status
    assert (answer.json()["detail"] == "The body is not JSON.") is (status == 400)
    assert timeline.asked == []


async def test_a_body_has_to_be_called_json(timeline):
    async with serving(timeline) as client:
        answer = await client.post("/v1/trades", content=b"{}")

    assert answer.status_code == 415


@pytest.mark.parametrize(
    ("error", "status"),
    [(StoreUnavailable("x"), 503), (ReadsBusy("x"), 503), (ReadTooLong("x"), 504)],
)
@pytest.mark.parametrize("sent", [{}, {"id": "0b8d1f0e-7c1f-4f0e-9d55-3f5a5d3a7a11"}])
async def test_a_trade_that_is_not_recorded_is_to_be_sent_again(
    timeline, error, status, sent
):
    """With the same id, also if the service has chosen it."""
    timeline.error = error
    async with serving(timeline) as client:
        answer = await client.post("/v1/trades", json=TRADE | sent)

    [trade] = timeline.asked
    detail = answer.json()["detail"]
    assert answer.status_code == status
    assert "not recorded" in detail
    assert f"again with the id {trade.id}" in detail
    assert "Nothing is lost" not in detail
    assert "Ask" not in detail
