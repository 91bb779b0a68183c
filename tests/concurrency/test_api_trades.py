"""Recording trades over HTTP, with a fake timeline."""

from __future__ import annotations

from uuid import UUID

import msgspec
import pytest

from greeks_trio.errors import (
    ReadsBusy,
    ReadTooLong,
    StoreUnavailable,
)
from greeks_trio.postgres.reads.trades import RecordedTrade
from tests.concurrency.fake_timeline import FakeTimeline
from tests.timeline import serving

TRADE = {
    "broker": "ibkr",
    "account_id": "U1",
    "symbol": "SPY",
    "action": "buy",
    "quantity": 1,
}
WITH_METADATA = msgspec.json.encode(TRADE)[:-1] + b',"metadata":'


@pytest.fixture
def timeline():
    return FakeTimeline()


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
    assert "./EX3 270219C7100" in columns["contract_key"]["description"]
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
        (".SPY261218C600", "SPY   261218C00600000"),
        ("./CLM7 LOM7  270514P-5", "./LO  270514P-5"),
        ("/esz27", "/ESZ27"),
        ("brk.b", "BRK/B"),
        ("ry:cad", "RY:CAD"),
        ("ibkr:702", "ibkr:702"),
        (None, None),
    ],
)
async def test_a_contract_key_is_kept_as_the_ticks_have_it(timeline, sent, kept):
    async with serving(timeline) as client:
        answer = await client.post("/v1/trades", json=TRADE | {"contract_key": sent})

    assert answer.status_code == 201
    assert [trade.contract_key for trade in timeline.asked] == [kept]


async def test_the_refusal_of_a_key_names_the_field_the_text_and_examples(timeline):
    body = TRADE | {"contract_key": "./EX3H27C7100"}
    async with serving(timeline) as client:
        answer = await client.post("/v1/trades", json=body)

    assert answer.status_code == 422
    detail = answer.json()["detail"]
    assert detail.startswith("`contract_key` './EX3H27C7100' has no day of expiration")
    assert "./EX3 270219C7100" in detail


@pytest.mark.parametrize(
    "change",
    [
        {"quantity": 0},
        {"quantity": "0.00"},
        {"quantity": "NaN"},
        {"quantity": "1_000"},
        {"quantity": "\u0661\u0662"},
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
        {"action": "a\x9bb"},
        {"action": "a\u202eb"},
        {"strategy_tag": ""},
        {"contract_key": 7},
        {"contract_key": "garbage"},
        {"contract_key": " "},
        {"contract_key": "$SPY"},
        {"contract_key": "/ESZ7"},
        {"contract_key": "ESZ27"},
        {"contract_key": "schwab:702"},
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


@pytest.mark.parametrize(
    "twice",
    [
        '{"quantity": 1, "quantity": 2}',
        '{"metadata": {"a": [{"b": 1, "b": 1}]}}',
    ],
)
async def test_a_body_with_a_key_twice_is_refused(timeline, twice):
    headers = {"Content-Type": "application/json"}
    async with serving(timeline) as client:
        answer = await client.post("/v1/trades", content=twice, headers=headers)

    assert answer.status_code == 400
    assert "twice in one object" in answer.json()["detail"]
    assert timeline.asked == []


@pytest.mark.parametrize(
    "trade",
    [
        *({"symbol": "S?PY"}, {"account_id": "?U1"}, {"strategy_tag": "wheel?"}),
        *({"metadata": {"note": "a?b"}}, {"metadata": {"a": [{"b?": 1}]}}),
    ],
)
async def test_no_trade_has_characters_that_are_not_to_be_seen(timeline, trade):
    text = msgspec.json.encode(TRADE | trade)
    async with serving(timeline) as client:
        for odd in "\0\x1b\x9b\u202e\u2067\u200b\ufeff\U000e0041":
            answer = await client.post(
                "/v1/trades",
                content=text.replace(b"?", msgspec.json.encode(odd)[1:-1]),
                headers={"Content-Type": "application/json"},
            )

            assert answer.status_code == 422, ascii(odd)
            assert "has a control character" in answer.json()["detail"]

    assert not timeline.asked


async def test_a_note_may_have_lines_and_letters_of_any_script(timeline):
    note = "Zwei Zeilen\r\n\t株 नमस्ते \U0001f469\u200d\U0001f4bb"
    async with serving(timeline) as client:
        answer = await client.post("/v1/trades", json=TRADE | {"metadata": {"n": note}})

    assert answer.status_code == 201
