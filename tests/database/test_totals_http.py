"""Positions, totals and tags over HTTP, from a real database."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from greeks_trio.commands.risk import RiskOptions, run_risk
from tests.database.risk_rows import hold, hold_shares, risk_database, seconds, tick
from tests.timeline import asking, serving

TOTALS = "/v1/risk/totals"
TAGS = "/v1/position-tags"
DAY = datetime.now(UTC).date() + timedelta(days=20)
KEY = f"SPY   {DAY:%y%m%d}C00600000"
FUTURE_OPTION = f"./ES  {DAY:%y%m%d}C6600"
PLACE = {"broker": "ibkr", "account_id": "U1"}


@pytest.fixture
def database(emptied_database):
    """The database of the module: its tests only write rows."""
    return emptied_database


@pytest.fixture
def db(database):
    """Short calls and shares of SPY, a put at another broker, and a futures option."""
    at = datetime.now(UTC) - seconds(60)
    with risk_database(database) as connection:
        hold(connection, -3, KEY, expiration=DAY, at=at)
        hold_shares(connection, 200, at=at)
        other = {"broker": "tastytrade", "account_id": "T1"}
        hold(connection, 2, KEY, expiration=DAY, at=at, currency=None, **other)
        of = {"kind": "future_option", "underlying": "/ESZ26", "multiplier": 50}
        hold(connection, 1, FUTURE_OPTION, expiration=DAY, at=at, price_factor=1, **of)
        now = datetime.now(UTC) - seconds(2)
        tick(connection, KEY, event_time=now, expiration=DAY, price=12.5)
        tick(connection, KEY, event_time=now, expiration=DAY, rho=None, **other)
        yield connection


async def test_totals_by_any_columns_with_filters_and_exports(database, db):
    async with asking(database) as timeline, serving(timeline) as client:
        by_underlying = (await client.get(TOTALS)).json()["items"]
        spy = by_underlying[1]
        assert [row["underlying"] for row in by_underlying] == ["/ESZ26", "SPY"]
        assert (spy["net_delta"], spy["option_delta"]) == (150.0, -50.0)
        assert (spy["positions"], spy["currency"], spy["unnamed_currency"]) == (
            *(3, "USD"),
            1,
        )
        assert (spy["missing_rho"], spy["missing_value"]) == (1, 1)
        assert by_underlying[0]["net_delta"] is None
        assert by_underlying[0]["missing_tick"] == 1

        [book] = (await client.get(f"{TOTALS}?group_by=book")).json()["items"]
        assert (book["positions"], book["underlyings"], book["net_delta"]) == (
            4,
            2,
            None,
        )
        assert book["dollar_delta"] == 150 * 650.0
        asked = {"group_by": "account_id,expiration_bucket", "underlying": "spy"}
        found = (await client.get(TOTALS, params=asked)).json()["items"]
        parts = [(row["account_id"], row["expiration_bucket"]) for row in found]
        assert parts == [("U1", None), ("U1", "8-30"), ("T1", "8-30")]
        assert [row["positions"] for row in found] == [1, 1, 1]
        only = {"group_by": "book", "broker": "tastytrade"}
        [row] = (await client.get(TOTALS, params=only)).json()["items"]
        assert row["positions"] == 1
        past = {"at": "2020-01-01T00:00:00Z"}
        assert (await client.get(TOTALS, params=past)).json()["items"] == []
        pages, cursor = [], None
        while True:
            page = {"group_by": "account_id,underlying", "limit": 1, "cursor": cursor}
            asked = {name: each for name, each in page.items() if each is not None}
            answer = (await client.get(TOTALS, params=asked)).json()
            pages += answer["items"]
            cursor = answer["next_cursor"]
            if cursor is None:
                break
        assert [(row["account_id"], row["underlying"]) for row in pages] == [
            *(("U1", "/ESZ26"), ("U1", "SPY"), ("T1", "SPY")),
        ]
        lines = (await client.get(f"{TOTALS}?format=csv")).text.splitlines()
        assert len(lines) == 3
        positions = (await client.get("/v1/risk/positions?underlying=SPY")).json()
        [shares] = [row for row in positions["items"] if row["kind"] == "equity"]
        assert (shares["position_delta"], shares["missing"]) == (200.0, [])


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("group_by=delta", "has 'delta'; it takes broker, account_id"),
        ("group_by=", "has ''"),
        ("group_by=book,broker", "has book, which goes with no other name"),
        ("groupby=broker", "groupby"),
        ("broker=nobody", "broker"),
    ],
)
async def test_what_is_no_total_is_refused_in_words(database, asked, words):
    async with asking(database) as timeline, serving(timeline) as client:
        answer = await client.get(f"{TOTALS}?{asked}")

    assert answer.status_code == 422
    assert words in answer.text.replace("\\u0027", "'")


async def test_a_tag_is_written_replaced_and_removed(database, db):
    async with asking(database) as timeline, serving(timeline) as client:
        typed = {**PLACE, "contract_key": KEY.replace(" ", "").lower()}
        new = await client.put(TAGS, json=typed | {"strategy_tag": "condor"})
        assert (new.status_code, new.json()["contract_key"]) == (201, KEY)
        again = await client.put(TAGS, json=typed | {"strategy_tag": "condor"})
        assert (again.status_code, again.json()) == (200, new.json())
        by = {"strategy_tag": None, "tagged_by": "Ada"}
        changed = (await client.put(TAGS, json=typed | by)).json()
        assert changed["strategy_tag"] is None
        assert changed["tagged_by"] == "Ada"
        assert changed["tagged_at"] > new.json()["tagged_at"]
        await client.put(TAGS, json=typed | {"strategy_tag": "wheel"})
        found = (await client.get(f"{TOTALS}?group_by=strategy_tag")).json()["items"]
        assert {row["strategy_tag"]: row["positions"] for row in found} == {
            "wheel": 1,
            None: 3,
        }
        listed = (await client.get(f"{TAGS}?strategy_tag=wheel")).json()["items"]
        assert [row["contract_key"] for row in listed] == [KEY]

        assert (await client.delete(TAGS, params=typed)).status_code == 204
        gone = await client.delete(TAGS, params=typed)
        assert (gone.status_code, gone.json()["detail"]) == (
            404,
            "This position has no tag.",
        )
        assert (await client.get(TAGS)).json()["items"] == []


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"strategy_tag": ""}, 422, "strategy_tag"),
        ({"strategy_tag": "a\x07"}, 422, "control character"),
        ({"broker": "nobody"}, 422, "There is no broker 'nobody'"),
        ({"contract_key": "no such thing 12"}, 422, "`contract_key`"),
        ({"quantity": 1}, 422, "quantity"),
    ],
)
async def test_a_body_that_tags_nothing_is_refused(database, changes, status, words):
    body = {**PLACE, "contract_key": KEY, "strategy_tag": "condor", **changes}
    async with asking(database) as timeline, serving(timeline) as client:
        answer = await client.put(TAGS, json=body)
        without = {name: each for name, each in body.items() if name != "strategy_tag"}
        missing = await client.put(TAGS, json=without)
        bare = await client.delete(TAGS, params=PLACE)

    assert (answer.status_code, missing.status_code, bare.status_code) == (
        422,
        422,
        422,
    )
    assert words in answer.json()["detail"]


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Return a function for exit status and output, with `tmp_path` as the directory."""
    monkeypatch.chdir(tmp_path)

    async def run(client, **options):
        capsys.readouterr()
        url = str(client.base_url).rstrip("/")
        status = await run_risk(RiskOptions(url=url, **options), limit_s=5)
        return status, capsys.readouterr()

    return run


def line_of(text, name):
    [line] = [each for each in text.splitlines() if each.split()[:1] == [name]]
    return line.split()


async def test_the_command_shows_marks_and_explains(database, db, command):
    async with asking(database) as timeline, serving(timeline) as client:
        status, shown = await command(client)
        assert status == 0
        assert line_of(shown.out, "SPY")[:7] == [
            *("SPY", "USD", "150.0", "97,500", "-1.00", "20.00", "-60.00"),
        ]
        assert line_of(shown.out, "/ESZ26")[2:9] == ["-*"] * 5 + ["1", "1"]
        assert line_of(shown.out, "together")[1:6] == [
            *("USD", "-", "97,500*", "-", "20.00*"),
        ]
        assert (
            "* /ESZ26 USD: of 1 position, these are missing: net delta 1, dollar delta 1,"
            " gamma 1, theta 1, vega 1 (1 without a tick)"
        ) in shown.out
        assert "* SPY" not in shown.out

        status, shown = await command(
            client, by="account_id", filters={"broker": "tastytrade"}
        )
        assert line_of(shown.out, "tastytrade")[:3] == ["tastytrade", "T1", "USD"]
        assert "U1" not in shown.out
        status, shown = await command(client, by="book", as_json=True)
        answer = json.loads(shown.out)
        assert (status, answer["problems"], answer["group_by"]) == (0, [], "book")
        assert [row["positions"] for row in answer["items"]] == [4]
        status, shown = await command(client, by="delta")
        assert status == 1
        assert "The service refuses the request: group_by has 'delta'" in shown.err
        status, shown = await command(client, filters={"account_id": "U9"})
        assert (status, shown.out.strip()) == (0, "No positions of account_id U9.")


async def test_without_a_service_the_command_says_so_as_status_does(command):
    class Nothing:
        base_url = "http://127.0.0.1:9/"

    status, shown = await command(Nothing)
    as_json, said = await command(Nothing, as_json=True)

    assert (status, as_json) == (2, 2)
    assert shown.out.startswith("greeks_trio at http://127.0.0.1:9 is down\n  - no")
    assert "no service answers" in json.loads(said.out)["problems"][0]
