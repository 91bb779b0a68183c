from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import httpx2
import pytest
import trio

from greeks_trio.brokers.ibkr.portfolio import Portfolio
from greeks_trio.brokers.ibkr.rest import Pacer
from greeks_trio.brokers.ibkr.search import resolve_watchlist
from greeks_trio.brokers.ibkr.session import check_login
from greeks_trio.errors import FeedInterrupted
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.position_log import PositionLog
from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.records import PositionsSnapshot
from tests.concurrency.ibkr_gateway import (
    CONFIG,
    LOGGED_IN,
    SESSION,
    FakeGateway,
    KeptJournal,
    make_row,
)

NOT_ESTABLISHED = {"authenticated": True, "established": False, "connected": True}
SPXW = ContractKey("SPXW  261218P06000000")


@pytest.fixture
def gateway(nursery):
    return FakeGateway(nursery)


async def check(gateway, config=CONFIG):
    return await check_login(config, open_session=gateway.open_session)


async def fail(gateway, config=CONFIG):
    with pytest.raises(FeedInterrupted) as caught:
        await check(gateway, config)
    return caught.value


async def test_a_login_is_told_in_one_sentence(autojump_clock, gateway):
    gateway.positions["U2"] = [make_row(8, 610), make_row(9, 620, position=0)]

    assert await check(gateway) == "logged in, 2 accounts, 2 option positions"


async def test_one_is_said_in_the_singular(autojump_clock, gateway):
    config = replace(CONFIG, accounts=("U1",))

    assert await check(gateway, config) == "logged in, 1 account, 1 option position"


async def test_accounts_are_asked_before_positions(autojump_clock, gateway):
    await check(gateway)

    paths = [path for _, _, path in gateway.requests]
    assert paths == [
        "/tickle",
        "/iserver/accounts",
        "/portfolio/accounts",
        "/portfolio/U1/positions/0",
        "/portfolio/U2/positions/0",
    ]


@pytest.mark.parametrize(
    ("path", "answer", "words"),
    [
        ("/tickle", (401, b"<html>"), "not logged in: open https://localhost:5000/"),
        (
            "/tickle",
            (200, {"error": "failed to process request"}),
            "to process request",
        ),
        ("/tickle", (200, {"ssoExpires": 1}), "no session; log in again"),
        ("/tickle", (500, b"Internal Server Error"), "is ips.allow in its conf.yaml"),
        ("/tickle", (200, b"\xff{"), "is not JSON"),
        ("/tickle", (200, ...), "does not answer /tickle"),
        ("/tickle", (200, httpx2.ConnectError("refused")), "no IBKR gateway answers"),
        ("/tickle", (200, httpx2.ReadError("reset")), "broke during /tickle: reset"),
        ("/tickle", (403, b"Access Denied"), "refuses this machine's address"),
        ("/iserver/accounts", (400, {"error": "Init session first"}), "Init session"),
        ("/iserver/accounts", (503, b"Unavailable"), "with 503: Unavailable"),
        ("/portfolio/accounts", (200, []), "names no account"),
        (
            "/portfolio/accounts",
            (200, {"error": "x"}),
            "without a list: {'error': 'x'}",
        ),
        ("/portfolio/U1/positions/0", (503, {"error": "y"}), "with 503"),
    ],
)
async def test_what_is_wrong_is_said_in_plain_words(
    autojump_clock, gateway, path, answer, words
):
    gateway.answers[path] = answer

    failure = await fail(gateway)

    assert words in str(failure)
    assert failure.retry_after is None
    assert trio.current_time() < 60


async def test_a_lock_out_says_when_to_come_back(autojump_clock, gateway):
    gateway.answers["/iserver/accounts"] = (429, b"")

    assert (await fail(gateway)).retry_after == 600


async def test_an_account_that_the_login_does_not_have_is_named(
    autojump_clock, gateway
):
    failure = await fail(gateway, replace(CONFIG, accounts=("U9",)))

    assert "no account U9" in str(failure)


async def test_a_brokerage_session_is_opened_and_never_taken_away(
    autojump_clock, gateway
):
    gateway.status = NOT_ESTABLISHED
    asked = []

    def init(content, _params):
        asked.append(content)
        return 200, NOT_ESTABLISHED

    def status(_content, _params):
        gateway.status = {"authenticated": True, "established": True}
        return 200, gateway.status

    gateway.answers["/iserver/auth/ssodh/init"] = init
    gateway.answers["/iserver/auth/status"] = status

    assert (await check(gateway)).startswith("logged in")
    assert asked == [{"publish": True, "compete": False}]


async def test_a_check_takes_the_session_from_nobody(autojump_clock, gateway):
    gateway.status = {"authenticated": False, "connected": True, "competing": True}
    asked = []

    def init(content, _params):
        asked.append(content["compete"])
        return 200, gateway.status

    gateway.answers["/iserver/auth/ssodh/init"] = init

    await fail(gateway, replace(CONFIG, compete=True))

    assert asked == [False]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"authenticated": False, "connected": False}, "is not logged in"),
        ({"authenticated": True, "established": False}, "did not open"),
        (
            {"authenticated": False, "connected": True, "competing": True},
            "another program (TWS, the mobile app)",
        ),
    ],
)
async def test_a_session_that_does_not_come_is_explained(
    autojump_clock, gateway, status, words
):
    gateway.status = status
    gateway.answers["/iserver/auth/ssodh/init"] = (200, status)

    assert words in str(await fail(gateway))


async def test_a_cold_answer_is_read_again(autojump_clock, gateway):
    missing = {"ticker": None, "undSym": None, "multiplier": None, "undConid": 0}
    cold = make_row() | missing | {"strike": 0.0}
    gateway.answers["/portfolio/U1/positions/0"] = [(200, [cold]), (200, [make_row()])]

    await check(gateway)

    assert len(gateway.times_of("/portfolio/U1/positions/0")) == 2


async def test_an_answer_that_stays_cold_is_taken_as_it_is(autojump_clock, gateway):
    gateway.positions["U1"] = [make_row(undConid=0)]

    assert "1 option position" in await check(gateway)
    assert len(gateway.times_of("/portfolio/U1/positions/0")) == 5
    assert trio.current_time() < 20


async def test_all_pages_are_read(autojump_clock, gateway):
    gateway.positions["U1"] = [make_row(number, number) for number in range(1, 251)]

    assert "250 option positions" in await check(gateway)


async def test_pages_have_the_size_that_the_rows_say(autojump_clock, gateway):
    rows = [make_row(n, n, pageSize=30) for n in range(1, 31)]
    gateway.answers["/portfolio/U1/positions/0"] = (200, rows)
    gateway.answers["/portfolio/U1/positions/1"] = (200, [])

    assert "30 option positions" in await check(gateway)


async def test_a_gateway_without_a_last_page_is_given_up(autojump_clock, gateway):
    rows = [make_row(n, n) for n in range(1, 101)]
    for page in range(101):
        gateway.answers[f"/portfolio/U1/positions/{page}"] = (200, rows)

    assert "no last page" in str(await fail(gateway, replace(CONFIG, accounts=("U1",))))


async def test_requests_keep_their_distance_across_connections(autojump_clock, gateway):
    pacer = Pacer()
    for _ in range(3):
        async with gateway.open_session(CONFIG, pacer) as session:
            await session.log_in()
            await session.accounts.choose()

    moments = [at for at, _, _ in gateway.requests]
    assert min(b - a for a, b in pairwise(moments)) >= 0.1
    for path, distance in (("/portfolio/accounts", 5), ("/tickle", 1)):
        assert min(b - a for a, b in pairwise(gateway.times_of(path))) >= distance


def answer_search(gateway, *options):
    gateway.answers["/iserver/secdef/search"] = (
        200,
        [
            {"conid": "1", "symbol": "SPXX", "sections": [{"secType": "STK"}]},
            {"conid": "416904", "symbol": "SPX", "sections": [{"secType": "OPT"}]},
        ],
    )
    gateway.answers["/iserver/secdef/info"] = (200, list(options))


def make_option(conid, **changes):
    return {
        "conid": conid,
        "symbol": "SPX",
        "right": "P",
        "strike": 6000.0,
        "maturityDate": "20261218",
        "multiplier": "100",
        "tradingClass": "SPXW",
    } | changes


async def resolve(gateway, *keys):
    async with gateway.open_session(CONFIG, Pacer()) as session:
        return await resolve_watchlist(session, keys)


async def test_a_watched_contract_is_found_by_all_that_identifies_it(
    autojump_clock, gateway
):
    answer_search(
        gateway,
        make_option(1, tradingClass="SPX"),
        make_option(2, maturityDate="20261219"),
        make_option(3, right="C"),
        make_option(4, strike=6005.0),
        make_option(7, currency="EUR"),
        {"conid": 5},
        make_option(6),
    )

    found, unknown = await resolve(gateway, SPXW)

    listing = found[SPXW]
    assert (listing.conid, listing.underlying_conid) == (6, 416904)
    assert listing.contract.underlying == "SPX"
    assert unknown == []


async def test_an_option_settled_in_the_morning_is_found_by_its_last_trading_day(
    autojump_clock, gateway
):
    key = ContractKey("SPX   250117P03975000")
    terms = {
        "tradingClass": "SPX",
        "strike": 3975.0,
        "desc2": "JAN 16 '25 3975 Put (AM)",
    }
    answer_search(
        gateway,
        make_option(1, maturityDate="20250109", **terms),
        make_option(2, maturityDate="20250116", **terms),
    )

    found, _ = await resolve(gateway, key)

    assert found[key].conid == 2
    assert found[key].contract.contract_key == key


@pytest.mark.parametrize(
    "answer",
    [(200, []), (200, {"error": "x"}), (500, b""), (200, [make_option(1)] * 0)],
)
async def test_a_watched_contract_that_ibkr_does_not_know_is_named(
    autojump_clock, gateway, caplog, answer
):
    answer_search(gateway)
    gateway.answers["/iserver/secdef/info"] = answer

    found, unknown = await resolve(gateway, SPXW)

    assert (found, unknown) == ({}, [SPXW])
    assert "ibkr.watchlist_unknown" in caplog.text


async def test_a_watched_futures_option_is_not_searched(autojump_clock, gateway):
    key = ContractKey("./LO  260317P56")

    assert await resolve(gateway, key) == ({}, [key])
    assert gateway.requests == []


class Desk:
    """A portfolio against a fake gateway."""

    def __init__(self, gateway, **config):
        self.gateway = gateway
        self.config = replace(CONFIG, **config)
        self.journal = KeptJournal()
        self.health = FeedHealth("ibkr", self.journal)
        self.portfolio = Portfolio(self.health, PositionLog("ibkr", self.journal))
        self.pacer = Pacer()

    async def read(self, *, first=True):
        async with self.gateway.open_session(self.config, self.pacer) as session:
            if first:
                await self.portfolio.read_first(session, self.config)
            else:
                await self.portfolio.read(session, self.config)
            while await self.portfolio.resolve_next(session, self.config):
                pass
        return self.portfolio.view(self.config)

    @property
    def snapshots(self):
        waiting = self.journal.recorded
        return [each for each in waiting if isinstance(each, PositionsSnapshot)]


async def test_watched_contracts_are_streamed_beside_the_held_ones(
    autojump_clock, gateway
):
    answer_search(gateway, make_option(6))
    desk = Desk(gateway, watchlist=(SPXW, ContractKey("SPY   261218C00600000")))

    view = await desk.read()

    assert view.plan.lines == (756733, 416904, 7, 6)
    [watcher] = view.plan.options[6].holders
    assert (watcher.account_id, watcher.quantity) == ("watchlist", None)
    assert len(view.plan.options[7].holders) == 1


async def test_what_was_resolved_or_not_is_not_asked_again(autojump_clock, gateway):
    answer_search(gateway, make_option(6))
    desk = Desk(gateway, watchlist=(SPXW, ContractKey("QQQ   261218C00600000")))
    view = await desk.read()
    asked = len(gateway.times_of("/iserver/secdef/search"))

    view = await desk.read(first=False)

    assert len(gateway.times_of("/iserver/secdef/search")) == asked == 2
    assert view.unknown == ("QQQ   261218C00600000",)
    assert desk.health.statistics().counts["watchlist.unknown"] == 1


async def test_a_contract_that_was_sold_but_is_watched_keeps_its_line(
    autojump_clock, gateway
):
    desk = Desk(gateway, watchlist=(ContractKey("SPY   261218C00600000"),))
    view = await desk.read()
    gateway.positions["U1"] = []

    after = await desk.read(first=False)

    assert after.plan.lines == view.plan.lines
    assert gateway.times_of("/iserver/secdef/search") == []


async def test_a_cold_answer_with_riddles_closes_no_position(autojump_clock, gateway):
    riddle = make_row(contractDesc="", ticker=None, undSym=None)
    gateway.positions["U1"] = [make_row(8), riddle]
    desk = Desk(gateway)

    view = await desk.read()

    [unreadable] = view.unreadable
    assert unreadable.name.startswith("U1 7 ")
    assert desk.snapshots[-1].incomplete_account_ids == ("U1",)
    assert desk.health.statistics().counts["position.unreadable"] == 1

    await desk.read(first=False)
    assert desk.snapshots[-1].incomplete_account_ids == ()


async def test_nothing_at_all_is_believed_only_with_a_session(autojump_clock, gateway):
    desk = Desk(gateway)
    view = await desk.read()
    gateway.positions["U1"] = []
    gateway.status = NOT_ESTABLISHED

    with pytest.raises(FeedInterrupted, match="session"):
        await desk.read(first=False)
    assert len(desk.snapshots) == 1

    gateway.status = LOGGED_IN
    view = await desk.read(first=False)
    assert view.wanted == 0
    assert desk.snapshots[-1].positions == ()


async def test_positions_are_journaled_when_they_change(autojump_clock, gateway):
    desk = Desk(gateway)
    await desk.read()
    await desk.read(first=False)
    gateway.positions["U1"] = [make_row(position=-4)]
    await desk.read(first=False)

    quantities = [each.positions[0].quantity for each in desk.snapshots]
    assert quantities == [-3, -4]
    assert desk.snapshots[0].account_ids == ("U1", "U2")


async def test_the_session_is_in_no_failure_text(autojump_clock, gateway):
    answer = {"session": SESSION, "iserver": {"authStatus": {}}}
    gateway.answers["/tickle"] = (200, json.loads(json.dumps(answer)))

    assert SESSION not in str(await fail(gateway))
