"""A new list is one declaration: route, checks, description, pages and exports follow."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from greeks_trio.api.lists import columns, parameters
from greeks_trio.api.lists.resource import ListResource
from greeks_trio.api.lists.resources import RESOURCES
from greeks_trio.postgres.reads.listing import Key
from greeks_trio.postgres.reads.sources import relation
from tests.fix_postgres import connect
from tests.timeline import asking, serving

DIVIDENDS = ListResource(
    path="/v1/dividends",
    name="dividends",
    tag="dividends",
    about="Return the dividends by day.",
    file_name="dividends",
    source=relation("dividends"),
    parameters=(
        parameters.BROKER,
        parameters.UNDERLYING,
        *parameters.times_of("paid_at"),
    ),
    columns=(
        columns.BROKER,
        columns.UNDERLYING,
        columns.time("paid_at", columns.EVENT_TIME, "When it is paid."),
        columns.number("amount", 1.25, "Per share, in the currency."),
        columns.text("remark", "special", "A note of a person."),
    ),
    keys=(Key("paid_at", "timestamptz"), Key("underlying", "text", if_null="")),
    extras={"sources": columns.json_object("source", {}, "The notice.")},
)
ROWS = """
insert into dividends values
    ('ibkr', 'SPY', '2026-11-20 15:30Z', 1.790, '=1+1', '{"a": 1}'),
    ('ibkr', 'QQQ', '2026-11-20 15:30Z', 0.500, null, '{}'),
    ('tastytrade', null, '2026-11-21 15:30Z', null, 'a "b"', '{}')
"""


@pytest.fixture
def table(database):
    with connect(database) as db:
        db.execute(
            "create table dividends (broker text, underlying text, paid_at timestamptz,"
            " amount numeric, remark text, source jsonb)"
        )
        db.execute(ROWS)


@asynccontextmanager
async def answering(database):
    """Yield a client of an interface that has this list beside all others."""
    async with (
        asking(database) as timeline,
        serving(timeline, (*RESOURCES, DIVIDENDS)) as client,
    ):
        yield client


async def test_it_is_a_list_of_json_with_pages(database, table):
    async with answering(database) as client:
        first = (await client.get("/v1/dividends?limit=2")).json()
        query = {"limit": 2, "cursor": first["next_cursor"]}
        last = (await client.get("/v1/dividends", params=query)).json()
        elsewhere = await client.get("/v1/trades", params=query)

    assert first["items"] == [
        {
            "broker": "ibkr",
            "underlying": "QQQ",
            "paid_at": "2026-11-20T15:30:00.000000Z",
            "amount": 0.5,
            "remark": None,
        },
        {
            "broker": "ibkr",
            "underlying": "SPY",
            "paid_at": "2026-11-20T15:30:00.000000Z",
            "amount": 1.79,
            "remark": "=1+1",
        },
    ]
    assert [row["broker"] for row in last["items"]] == ["tastytrade"]
    assert last["next_cursor"] is None
    assert elsewhere.status_code == 422


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({}, 3),
        ({"broker": "ibkr"}, 2),
        ({"underlying": "SPY"}, 1),
        ({"start": "2026-11-21T00:00:00Z"}, 1),
        ({"end": "2026-11-21T00:00:00Z", "broker": "tastytrade"}, 0),
    ],
)
async def test_its_parameters_are_filters(database, table, query, count):
    async with answering(database) as client:
        answer = await client.get("/v1/dividends", params=query)

    assert len(answer.json()["items"]) == count


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ({"broker": "schwab"}, "query.broker"),
        ({"start": "yesterday"}, "query.start"),
        ({"account_id": "U1"}, "query.account_id"),
        ({"include": "payload"}, "query.include"),
        ({"start": "2026-11-21T00:00:00Z", "end": "2026-11-20T00:00:00Z"}, "query"),
    ],
)
async def test_anything_else_is_refused(database, table, query, where):
    async with answering(database) as client:
        answer = await client.get("/v1/dividends", params=query)

    assert answer.status_code == 422
    assert [each["where"] for each in answer.json()["errors"]] == [where]


async def test_it_can_be_exported(database, table):
    async with answering(database) as client:
        table = await client.get("/v1/dividends?format=csv&limit=2&include=sources")
        lines = await client.get("/v1/dividends?format=ndjson")

    assert table.headers["content-disposition"].endswith('"dividends.csv"')
    assert table.text == (
        "broker,underlying,paid_at,amount,remark,source\n"
        '"ibkr","QQQ",2026-11-20T15:30:00.000000Z,0.500,,"{}"\n'
        '"ibkr","SPY",2026-11-20T15:30:00.000000Z,1.790,"\'=1+1","{""a"": 1}"\n'
    )
    assert len(lines.text.splitlines()) == 3


async def test_it_is_described(database, table):
    async with answering(database) as client:
        description = (await client.get("/openapi.json")).json()

    operation = description["paths"]["/v1/dividends"]["get"]
    assert operation["operationId"] == "dividends"
    assert operation["description"] == DIVIDENDS.about
    names = {each["name"] for each in operation["parameters"]}
    assert names == {
        *("format", "limit", "cursor", "include"),
        *("broker", "underlying", "start", "end"),
    }
    content = operation["responses"]["200"]["content"]
    row = content["application/json"]["schema"]["properties"]["items"]["items"]
    assert list(row["properties"]) == [
        *("broker", "underlying", "paid_at", "amount", "remark", "source")
    ]
    assert row["required"] == ["broker", "underlying", "paid_at", "amount", "remark"]
    assert row["properties"]["broker"]["enum"] == ["ibkr", "tastytrade"]
    assert row["examples"][0]["amount"] == 1.25
    assert content["text/csv"]["example"].startswith("broker,underlying,paid_at")
