"""The REST interface of the simulated IBKR gateway as its clients see it."""

from __future__ import annotations

import re
import ssl
from datetime import date

import httpx2
import pytest

from greeks_trio.model.contracts import contract_from_occ, parse_occ
from greeks_trio.simulators.book.textbook import textbook_market
from greeks_trio.simulators.ibkr.broker import SimulatedIbkr
from greeks_trio.simulators.ledger import Ledger

ACCOUNT = "DU7654321"


@pytest.fixture
def market():
    return textbook_market(contracts=250, seed=5, today=date(2026, 3, 2))


@pytest.fixture
async def simulator(nursery, market):
    simulator = SimulatedIbkr(
        market, market.options[:130], Ledger(None), rate=10.0, seed=7
    )
    simulator.endpoints = await nursery.start(simulator.run, 0)
    return simulator


@pytest.fixture
async def rest(simulator):
    tls = ssl.create_default_context(cafile=simulator.endpoints.ca_file)
    base = simulator.endpoints.rest_url
    async with httpx2.AsyncClient(verify=tls, base_url=base) as client:
        yield client


async def get(rest, path, **params):
    response = await rest.get(path, params=params)
    assert response.status_code == 200, response.text
    return response.json()


async def test_the_session_is_known_by_tickle_and_status(rest):
    tickle = (await rest.post("/tickle")).json()
    status = (await rest.post("/iserver/auth/status")).json()

    assert re.fullmatch("[0-9a-f]{32}", tickle["session"])
    assert tickle["iserver"]["authStatus"] == status
    assert status["authenticated"] is status["established"] is True
    assert (await get(rest, "/tickle"))["session"] == tickle["session"]
    assert await get(rest, "/iserver/auth/status") == status
    assert (await get(rest, "/sso/validate"))["RESULT"] is True


async def test_after_a_logout_a_new_session_has_to_be_opened(rest):
    before = (await get(rest, "/tickle"))["session"]

    assert (await rest.post("/logout")).json() == {"status": True}
    assert (await rest.get("/tickle")).status_code == 401
    assert (await rest.get("/iserver/accounts")).status_code == 401
    status = await get(rest, "/iserver/auth/status")
    refused = await rest.post("/iserver/auth/ssodh/init", json={"compete": True})
    assert (await rest.post("/sso/Dispatcher")).status_code == 200
    unpublished = await rest.post("/iserver/auth/ssodh/init", json={"compete": True})
    opened = await rest.post(
        "/iserver/auth/ssodh/init", json={"publish": True, "compete": True}
    )

    assert status["authenticated"] is status["connected"] is False
    assert (refused.status_code, unpublished.status_code) == (401, 500)
    assert opened.json()["established"] is True
    assert (await get(rest, "/tickle"))["session"] != before


async def test_positions_are_empty_until_the_accounts_were_listed(rest):
    path = f"/portfolio/{ACCOUNT}/positions/0"

    before = await get(rest, path)
    [account] = await get(rest, "/portfolio/accounts")
    after = await get(rest, path)

    assert before == []
    assert account["accountId"] == ACCOUNT
    assert len(after) == 100


async def test_the_first_read_of_positions_is_cold(rest, market):
    await get(rest, "/portfolio/accounts")

    cold = await get(rest, f"/portfolio/{ACCOUNT}/positions/0")
    warm = await get(rest, f"/portfolio/{ACCOUNT}/positions/0")

    assert all(row["strike"] == 0.0 and row["multiplier"] is None for row in cold)
    assert not any("ticker" in row or "name" in row for row in cold)
    options = [row for row in warm if row["assetClass"] == "OPT"]
    for row, option in zip(options, market.options, strict=False):
        assert row["conid"] == option.conid
        assert row["strike"] == str(option.terms.strike.normalize().__format__("f"))
        assert row["multiplier"] == 100.0
        assert row["undConid"] == option.underlying.conid
        assert row["expiry"] == f"{option.terms.expiration:%Y%m%d}"


async def test_the_description_of_an_option_holds_its_identity(rest, market):
    await get(rest, "/portfolio/accounts")
    keys = {option.conid: option.contract for option in market.options}

    rows = await get(rest, f"/portfolio/{ACCOUNT}/positions/0")

    options = [row for row in rows if row["assetClass"] == "OPT"]
    assert options
    for row in options:
        found = re.search(r"\[(.+) 100\]$", row["contractDesc"])
        contract = keys[row["conid"]]
        assert contract_from_occ(found[1]).contract_key == contract.contract_key
        assert parse_occ(found[1]).strike == contract.strike


async def test_positions_come_in_pages_of_a_hundred_up_to_an_empty_one(rest):
    await get(rest, "/portfolio/accounts")

    pages = [
        await get(rest, f"/portfolio/{ACCOUNT}/positions/{page}") for page in range(3)
    ]

    assert [len(page) for page in pages] == [100, 33, 0]
    assert {row["pageSize"] for page in pages for row in page} == {100}
    shares = [row for row in pages[0] if row["assetClass"] == "STK"]
    assert {row["position"] for row in shares} == {100.0, 512.5, -20.0}
    assert {row["multiplier"] for row in shares} == {None}


async def test_positions_may_be_invalidated_and_stay_warm(rest):
    await get(rest, "/portfolio/accounts")
    await get(rest, f"/portfolio/{ACCOUNT}/positions/0")

    answer = await rest.post(f"/portfolio/{ACCOUNT}/positions/invalidate")

    assert answer.json() == {"message": "success"}
    [row, *_] = await get(rest, f"/portfolio/{ACCOUNT}/positions/0")
    assert row["name"]


async def test_a_changed_position_is_listed_as_it_is_now(rest, simulator, market):
    await get(rest, "/portfolio/accounts")
    simulator.hold(market.options[0], 0)
    simulator.hold(market.options[1], -7)
    simulator.hold(market.options[200], 4)

    rows = await get(rest, f"/portfolio2/{ACCOUNT}/positions")

    held = {row["conid"]: row["position"] for row in rows}
    assert str(market.options[0].conid) not in held
    assert held[str(market.options[1].conid)] == -7
    assert held[str(market.options[200].conid)] == 4
    assert all("strike" not in row for row in rows)
    assert len(str(rows[0]["timestamp"])) == 10  # seconds


async def test_an_option_is_found_by_symbol_month_strike_and_right(rest, market):
    option = next(o for o in market.options if o.terms.root == "SPXW")
    month = f"{option.terms.expiration:%b%y}".upper()

    [found] = await get(rest, "/iserver/secdef/search", symbol="SPX")
    where = {"conid": found["conid"], "sectype": "OPT", "month": month}
    strikes = await get(rest, "/iserver/secdef/strikes", **where)
    listed = await get(
        rest,
        "/iserver/secdef/info",
        **where,
        strike=str(option.terms.strike),
        right="C",
    )

    assert month in found["sections"][1]["months"].split(";")
    assert float(option.terms.strike) in strikes["call"]
    assert option.conid in [each["conid"] for each in listed]
    assert {each["tradingClass"] for each in listed} == {"SPXW"}
    assert {each["right"] for each in listed} == {"C"}


async def test_three_requests_return_the_contract_of_a_conid(rest, market):
    option = next(o for o in market.options if o.terms.root == "BRKB")

    [brk] = await get(rest, "/iserver/secdef/search", symbol="BRK B")
    defined = await get(rest, "/trsrv/secdef", conids=f"{option.conid},1,265598")
    posted = await rest.post("/trsrv/secdef", json={"conids": [option.conid]})
    info = await get(rest, f"/iserver/contract/{option.conid}/info")

    assert brk["conid"] == str(option.underlying.conid)
    assert [row["conid"] for row in defined["secdef"]] == [option.conid, 265598]
    assert posted.json()["secdef"] == defined["secdef"][:1]
    assert info["underlying_con_id"] == option.underlying.conid
    assert info["multiplier"] == "100"


async def test_a_snapshot_warms_up_over_three_requests(rest, market):
    conid = market.options[0].conid
    asked = {"conids": f"{conid},8595", "fields": "31,84,7308,7633"}

    refused = await rest.get("/iserver/marketdata/snapshot", params=asked)
    await get(rest, "/iserver/accounts")
    answers = [
        await get(rest, "/iserver/marketdata/snapshot", **asked) for _ in range(3)
    ]

    assert refused.status_code == 500
    assert answers[0][0] == {"conid": conid, "conidEx": str(conid)}
    assert "7308" not in answers[1][0]
    assert answers[1][0]["6509"].startswith("R")
    assert re.fullmatch(r"-?\d\.\d{3}", answers[2][0]["7308"])
    assert re.fullmatch(r"\d+\.\d%", answers[2][0]["7633"])
    assert answers[2][1]["31"] == "N/A"


async def test_market_data_can_be_given_up(rest, market):
    conid = market.options[0].conid
    asked = {"conids": str(conid), "fields": "31"}
    await get(rest, "/iserver/accounts")
    for _ in range(3):
        await get(rest, "/iserver/marketdata/snapshot", **asked)

    path = "/iserver/marketdata/unsubscribe"
    first = await rest.post(path, json={"conid": conid})
    second = await rest.post(path, json={"conid": conid})

    assert first.json() == {"success": True}
    assert second.status_code == 500
    assert await get(rest, path + "all") == {"unsubscribed": True}


async def test_the_first_answer_sets_a_cookie_and_the_older_path_works(rest):
    first = await rest.get(str(rest.base_url).replace("/api", "/portal") + "tickle")
    second = await rest.get("/tickle")

    assert "x-sess-uuid=" in first.headers["set-cookie"]
    assert "secure" in first.headers["set-cookie"].lower()
    assert "set-cookie" not in second.headers
    assert first.json()["session"] == second.json()["session"]


@pytest.mark.parametrize("path", ["/nothing", "/reauthenticate", "/ws"])
async def test_an_unknown_path_is_answered_in_html(rest, path):
    answer = await rest.get(path)

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "text/html"
    assert "Resource not found" in answer.text


async def test_asking_too_often_is_refused(rest):
    answers = [(await rest.get("/portfolio/accounts")).status_code for _ in range(8)]

    assert answers[:3] == [200] * 3
    assert answers[-1] == 429


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/iserver/auth/ssodh/init", b"\xff{"),
        ("POST", "/trsrv/secdef", b'{"conids": {"a": 1}}'),
        ("POST", "/iserver/marketdata/unsubscribe", b"[1]"),
        ("GET", "/iserver/contract/" + "9" * 5000 + "/info", b""),
        ("GET", f"/portfolio/{ACCOUNT}/positions/" + "9" * 5000, b""),
        ("GET", "/iserver/secdef/info?month=&strike=x&conid=%00", b""),
        ("GET", "/trsrv/secdef?conids=%FF,-1,1e9", b""),
    ],
)
async def test_an_odd_request_is_answered_somehow(rest, method, path, body):
    answer = await rest.request(method, path, content=body)

    assert answer.status_code in (200, 404, 500)
    assert (await rest.get("/tickle")).status_code == 200


async def test_a_client_may_tickle_several_times_when_it_begins(rest):
    codes = [(await rest.post("/tickle")).status_code for _ in range(14)]

    # ibind asks five times until its stream is up.
    assert codes[:8] == [200] * 8
    assert codes[-1] == 429


async def test_the_answers_about_orders_and_profits_are_empty(rest):
    paths = ("orders", "trades", "pnl/partitioned")
    answers = [await rest.get(f"/iserver/account/{path}") for path in paths]
    more = [await rest.get("/iserver/account/orders") for _ in range(6)]

    assert [each.json() for each in answers] == [
        {"orders": [], "snapshot": True},
        [],
        {"upnl": {}},
    ]
    assert (more[0].status_code, more[-1].status_code) == (200, 429)
