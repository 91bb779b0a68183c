"""Accounts of one login: an advisor's clients, and the definitions of their contracts."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest
import trio

from greeks_trio.brokers.ibkr.definitions import Definitions
from greeks_trio.brokers.ibkr.rest import Pacer
from greeks_trio.brokers.ibkr.session import check_login
from greeks_trio.errors import FeedInterrupted
from greeks_trio.model.records import PositionsSnapshot
from tests.concurrency.ibkr_gateway import CONFIG, FakeGateway, Scene, make_row

ALL = replace(CONFIG, accounts=())
SUBACCOUNTS = "/portfolio/subaccounts"
PAGES = "/portfolio/subaccounts2"


@pytest.fixture
def gateway(nursery):
    return FakeGateway(nursery)


def advise(gateway, clients, *, faclient=True):
    """Make the login that of an advisor with an empty account and these clients."""
    gateway.answers["/portfolio/accounts"] = (
        200,
        [{"accountId": "F1", "faclient": faclient}],
    )
    gateway.positions = {"F1": []} | {each: [] for each in clients}
    gateway.answers[SUBACCOUNTS] = (200, [{"accountId": each} for each in clients])


def in_pages(gateway, clients, size):
    """Answer the long list of clients page by page."""

    def page(_content, params):
        start = int(params["page"]) * size
        found = [{"accountId": each} for each in clients[start : start + size]]
        metadata = {"total": len(clients), "pageSize": size, "pageNum": params["page"]}
        return 200, {"metadata": metadata, "subaccounts": found}

    gateway.answers[PAGES] = page


async def choose(gateway, wanted=()):
    async with gateway.open_session(ALL, Pacer()) as session:
        return await session.accounts.choose(wanted), session.accounts.problem


async def test_the_clients_of_an_advisor_are_read(nursery, autojump_clock):
    scene = Scene(nursery, ALL)
    advise(scene.gateway, ["U1", "U2"])
    scene.gateway.positions["U1"] = [make_row(7)]
    scene.gateway.positions["U2"] = [make_row(8, 610, position=2)]

    await scene.start_streaming(3)

    [snapshot] = [x for x in scene.journal.recorded if isinstance(x, PositionsSnapshot)]
    assert snapshot.account_ids == ("F1", "U1", "U2")
    assert {each.account_id: each.quantity for each in snapshot.positions} == {
        "U1": -3,
        "U2": 2,
    }


async def test_an_advisors_own_list_of_all_positions_counts_none_twice(
    nursery, autojump_clock
):
    scene = Scene(nursery, ALL)
    advise(scene.gateway, ["U1", "U2"])
    rows = [make_row(7, acctId="U1"), make_row(8, 610, acctId="U2")]
    scene.gateway.positions |= {"F1": rows, "U1": rows[:1], "U2": rows[1:]}

    await scene.start_streaming(3)

    [snapshot] = [x for x in scene.journal.recorded if isinstance(x, PositionsSnapshot)]
    assert [(x.account_id, x.quantity) for x in snapshot.positions] == [
        ("U1", -3),
        ("U2", -3),
    ]


@pytest.mark.parametrize("faclient", [True, "true", "True"])
async def test_client_accounts_can_be_chosen(autojump_clock, gateway, faclient):
    advise(gateway, ["U1", "U2", "U3"], faclient=faclient)

    assert await choose(gateway, ("U3", "U1")) == (("U1", "U3"), None)


async def test_who_is_no_advisor_is_not_asked_for_clients(autojump_clock, gateway):
    advise(gateway, ["U1"], faclient=False)

    assert await choose(gateway) == (("F1",), None)
    assert gateway.times_of(SUBACCOUNTS) == []


@pytest.mark.parametrize("number", [100, 130, 250])
async def test_many_clients_come_in_pages(autojump_clock, gateway, number):
    clients = [f"U{n}" for n in range(1, number + 1)]
    advise(gateway, clients)
    gateway.answers[SUBACCOUNTS] = (200, [{"accountId": x} for x in clients[:100]])
    in_pages(gateway, clients, 20)

    chosen, problem = await choose(gateway)

    assert (chosen, problem) == (("F1", *clients), None)
    times = gateway.times_of(PAGES)
    assert all(b - a >= 5 for a, b in itertools.pairwise(times))


@pytest.mark.parametrize(
    "plain", [(404, b"<html>not found</html>"), (200, []), (200, {"error": "none"})]
)
async def test_pages_stand_in_for_the_plain_list(autojump_clock, gateway, plain):
    advise(gateway, ["U1", "U2"])
    gateway.answers[SUBACCOUNTS] = plain
    in_pages(gateway, ["U1", "U2"], 20)

    assert await choose(gateway) == (("F1", "U1", "U2"), None)


async def test_pages_that_do_not_say_how_many_there_are_end(autojump_clock, gateway):
    """Some gateways ignore the page and give the same answer again."""
    advise(gateway, ["U1", "U2"])
    gateway.answers[SUBACCOUNTS] = (200, [])
    gateway.answers[PAGES] = (200, [{"accountId": "U1"}, {"accountId": "U2"}])

    assert await choose(gateway) == (("F1", "U1", "U2"), None)


async def test_clients_that_cannot_be_listed_are_said_to_be_missing(
    nursery, autojump_clock
):
    scene = Scene(nursery, ALL)
    advise(scene.gateway, [])
    scene.gateway.answers[SUBACCOUNTS] = (500, b"error")
    scene.gateway.answers[PAGES] = (500, b"error")
    scene.gateway.positions["F1"] = [make_row()]

    await scene.start_streaming(2)
    await trio.sleep(1)

    assert scene.status == "degraded"
    assert (
        "not all accounts of the IBKR advisor's clients are known" in scene.last_error
    )


async def test_a_lock_out_is_no_missing_list(autojump_clock, gateway):
    advise(gateway, [])
    gateway.answers[SUBACCOUNTS] = (429, b"too many")

    with pytest.raises(FeedInterrupted, match="too many"):
        await choose(gateway)


async def test_check_names_the_rows_that_cannot_be_read(autojump_clock, gateway):
    gateway.positions["U1"] = [
        make_row(7),
        make_row(9),
        make_row(8, 610, assetClass="?"),
    ]

    sentence = await check_login(CONFIG, open_session=gateway.open_session)

    assert sentence == (
        "logged in, 2 accounts, 2 option positions;"
        " 1 position row that could not be read (U1 8 SPY DEC2026 610 C [SPY"
        " 261218C00610000 100]);"
        " 1 contract key that several instruments share (SPY   261218C00600000 conids"
        " 7, 9)"
    )


async def test_check_says_that_there_is_nothing(autojump_clock, gateway):
    gateway.positions["U1"] = []

    sentence = await check_login(CONFIG, open_session=gateway.open_session)

    assert sentence == (
        "logged in, 2 accounts, 0 option positions; IBKR lists no position"
    )


# Definitions.


def define(gateway, *definitions):
    """Answer requests for definitions; return the list of requested conids."""
    requested = []

    def answer(_content, params):
        conids = [int(each) for each in params["conids"].split(",")]
        requested.append(conids)
        return 200, {"secdef": [x for x in definitions if int(x["conid"]) in conids]}

    gateway.answers["/trsrv/secdef"] = answer
    return requested


OPTION = {
    "conid": "88",
    "assetClass": "FOP",
    "contractDesc": "ES     JUN2027 6100 C (E2B)",
    "position": 3.0,
    "currency": "USD",
    "expiry": None,
    "strike": 0.0,
    "undConid": 0,
    "multiplier": None,
    "pageSize": 100,
}
OPTION_DEFINED = {
    "conid": 88,
    "assetClass": "FOP",
    "expiry": "20270611",
    "strike": "6100",
}
OPTION_DEFINED |= {
    "putOrCall": "C",
    "multiplier": 50.0,
    "undConid": 9100,
    "ticker": "ES",
}
FUTURE_DEFINED = {
    "conid": 9100,
    "assetClass": "FUT",
    "ticker": "ES",
    "multiplier": 50.0,
}
FUTURE_DEFINED |= {"expiry": "20270618", "currency": "USD"}


async def test_definitions_make_a_cold_futures_option_stream(nursery, autojump_clock):
    scene = Scene(nursery)
    scene.gateway.positions["U1"] = [OPTION]
    requested = define(scene.gateway, OPTION_DEFINED, FUTURE_DEFINED)

    await scene.start_streaming(2)
    await scene.gateway.send_fields(9100, f31="6012.25")
    await scene.gateway.send_fields(88, f7308="0.4")
    [tick] = await scene.frames.receive()

    record = tick.record
    assert record.contract_key == "./E2B 270611C6100"
    assert (record.underlying, record.underlying_price) == ("/ESM27", 6012.25)
    assert requested == [[88], [9100]]
    assert scene.status in ("connected", "connecting")


@pytest.mark.parametrize("broken", [(404, b"<html>"), (500, b"error"), (200, "text")])
async def test_without_definitions_the_rest_streams(nursery, autojump_clock, broken):
    scene = Scene(nursery)
    scene.gateway.positions["U1"] = [OPTION, make_row(7)]
    scene.gateway.answers["/trsrv/secdef"] = broken

    await scene.start_streaming(2)
    await trio.sleep(1)

    assert scene.gateway.sent("smd+7+")
    assert "(U1 88 ES JUN2027 6100 C (E2B))" in scene.last_error


async def test_definitions_that_hang_hold_the_rest_back_only_once(
    nursery, autojump_clock
):
    scene = Scene(nursery)
    scene.gateway.positions["U1"] = [OPTION, make_row(7)]
    scene.gateway.answers["/trsrv/secdef"] = (200, ...)

    [(at, _)] = await scene.start_streaming()

    assert at < 30
    assert len(scene.gateway.times_of("/trsrv/secdef")) == 1


async def test_an_underlying_without_a_name_is_a_note(nursery, autojump_clock):
    scene = Scene(nursery)
    scene.gateway.positions["U1"] = [OPTION]
    define(scene.gateway, OPTION_DEFINED)
    await scene.start_streaming(2)
    await trio.sleep(1)
    note = "1 underlying whose name IBKR has not told (ibkr:9100)"
    assert (scene.status, scene.notes) == ("connected", (note,))

    define(scene.gateway, OPTION_DEFINED, FUTURE_DEFINED)
    await trio.sleep(CONFIG.positions_interval_s + 1)
    assert scene.notes == ()


async def test_many_definitions_take_several_requests(autojump_clock, gateway):
    requested = define(gateway, *({"conid": n} for n in range(1, 451)))

    async with gateway.open_session(ALL, Pacer()) as session:
        rows = await Definitions(session).read(range(1, 451))

    assert [len(each) for each in requested] == [200, 200, 50]
    assert [row.conid for row in rows] == list(range(1, 451))


async def test_definitions_are_requested_once_in_each_connection(
    nursery, autojump_clock
):
    scene = Scene(nursery)
    scene.gateway.positions["U1"] = [OPTION]
    requested = define(scene.gateway, OPTION_DEFINED, FUTURE_DEFINED)
    scene.supervise()
    await trio.sleep(1200)
    assert requested == [[88], [9100]]

    await scene.gateway.close()
    await trio.sleep(120)
    assert requested == [[88], [9100], [88, 9100]]


async def test_definitions_that_are_missing_are_requested_with_each_reading(
    nursery, autojump_clock
):
    scene = Scene(nursery)
    scene.gateway.positions["U1"] = [OPTION, make_row(7)]
    define(scene.gateway)
    await scene.start_streaming(2)
    await trio.sleep(600)
    requested = define(scene.gateway, OPTION_DEFINED, FUTURE_DEFINED)

    await scene.gateway.wait_received("smd+88+")

    assert requested == [[88], [9100]]


@pytest.mark.parametrize(
    "refused",
    [(405, b"no"), (404, b"<html>"), (400, {"error": "no"})],
)
async def test_a_gateway_that_takes_conids_in_a_body_only(
    autojump_clock, gateway, refused
):
    def answer(content, _params):
        if content is None:
            return refused
        return 200, {"secdef": [{"conid": each} for each in content["conids"]]}

    gateway.answers["/trsrv/secdef"] = answer

    async with gateway.open_session(ALL, Pacer()) as session:
        definitions = Definitions(session)
        rows = [*await definitions.read([5, 6]), *await definitions.read([7])]

    assert [row.conid for row in rows] == [5, 6, 7]
    methods = [how for _, how, path in gateway.requests if path == "/trsrv/secdef"]
    assert methods == ["GET", "POST", "POST"]


@pytest.mark.parametrize(
    "answer",
    [
        [{"conid": "5"}],
        {"conid": 5},
        {"5": {"conid": 5}},
        {"secdef": {"conid": 5}},
        {"secdef": [None, {"conid": 5.0}, "x"]},
    ],
)
async def test_definitions_come_in_several_shapes(autojump_clock, gateway, answer):
    gateway.answers["/trsrv/secdef"] = (200, answer)

    async with gateway.open_session(ALL, Pacer()) as session:
        rows = await Definitions(session).read([5])

    assert [row.conid for row in rows if row.conid is not None] == [5]


# Accounts that IBKR refuses to list.

REFUSED = [(500, {"error": "y"}), (404, b"<html>"), (200, {"error": "z"}), (200, b"?")]


def last_held(scene):
    snapshot = [e for e in scene.journal.recorded if isinstance(e, PositionsSnapshot)]
    return {
        (each.account_id, each.instrument_id): each.quantity
        for each in snapshot[-1].positions
    }, snapshot[-1].incomplete_account_ids


@pytest.mark.parametrize("refusal", REFUSED)
async def test_an_account_without_a_list_hides_no_other(
    nursery, autojump_clock, refusal
):
    scene = Scene(nursery, ALL)
    scene.gateway.positions = {"U1": [], "U2": [make_row(8, 610, position=2)]}
    scene.gateway.answers["/portfolio/U1/positions/0"] = refusal

    await scene.start_streaming()
    await trio.sleep(1)

    assert last_held(scene) == ({("U2", "8"): 2}, ("U1",))
    assert scene.status == "degraded"
    assert "1 account that IBKR does not list (U1): the IBKR" in scene.last_error

    del scene.gateway.answers["/portfolio/U1/positions/0"]
    await trio.sleep(15)
    assert last_held(scene) == ({("U2", "8"): 2}, ())
    assert scene.status == "connected"


async def test_the_positions_of_an_account_without_a_list_stay(nursery, autojump_clock):
    scene = Scene(nursery, ALL)
    scene.gateway.positions = {
        "U1": [make_row(7)],
        "U2": [make_row(8, 610, position=2), make_row(9, 620)],
    }
    await scene.start_streaming(3)
    scene.gateway.answers["/portfolio/U1/positions/0"] = REFUSED[0]
    scene.gateway.positions["U2"].pop()
    scene.feed.reload(ALL)
    await trio.sleep(8)

    held, incomplete = last_held(scene)
    assert held == {("U2", "8"): 2, ("U1", "7"): -3}
    assert incomplete == ("U1",)
    assert scene.gateway.sent("umd+") == ["umd+9+{}"]


async def test_accounts_that_are_all_without_a_list_are_a_failure(
    autojump_clock, gateway
):
    for account_id in gateway.positions:
        gateway.answers[f"/portfolio/{account_id}/positions/0"] = REFUSED[0]

    with pytest.raises(FeedInterrupted, match="with 500"):
        await check_login(ALL, open_session=gateway.open_session)


async def test_check_names_the_accounts_without_a_list(autojump_clock, gateway):
    gateway.answers["/portfolio/U1/positions/0"] = REFUSED[0]

    sentence = await check_login(ALL, open_session=gateway.open_session)

    assert "; 1 account that IBKR does not list (U1)" in sentence


@pytest.mark.parametrize("odd", [b'"avgCost": NaN', b'"name": "\x99"'])
async def test_an_odd_number_or_letter_hides_no_page(autojump_clock, gateway, odd):
    page = json.dumps([make_row(7)]).encode()
    gateway.answers["/portfolio/U1/positions/0"] = (
        200,
        page.replace(b"[{", b"[{" + odd + b", "),
    )

    sentence = await check_login(ALL, open_session=gateway.open_session)

    assert sentence == "logged in, 2 accounts, 1 option position"
