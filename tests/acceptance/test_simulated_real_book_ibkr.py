"""The real book at the simulated IBKR gateway, as an independent client sees it."""

from __future__ import annotations

import re

import pytest
import trio

from greeks_trio.simulators.book.book import FLAWLESS
from tests.acceptance.ibkr_client import GREEKS, merge
from tests.acceptance.real_book import make_book, start_ibkr

CLIENTS = ["U7100001", "U7100002", "U7100003"]
FIELDS = ["31", "84", "86", "7635", "6509", *GREEKS, "7633"]
UNSET = {"1.7976931348623157E308", "2147483647", "9223372036854775807", "-1", "-2"}


@pytest.fixture
def start(nursery, tmp_path):
    async def start(**options):
        return await start_ibkr(nursery, tmp_path / "ledger", **options)

    return start


async def get(rest, path, **params):
    response = await rest.get(path, params=params)
    assert response.status_code == 200, response.text
    return response.json()


async def read_positions(rest):
    """Return every row of every client, read twice."""
    await get(rest, "/portfolio/accounts")
    clients = await get(rest, "/portfolio/subaccounts")
    for _ in range(2):
        rows = [
            row
            for client in clients
            for row in await get(rest, f"/portfolio/{client['id']}/positions/0")
        ]
    return rows


async def test_an_advisor_s_login_lists_only_the_own_account(start):
    gateway = await start()
    async with gateway.open_rest() as rest:
        [master] = await get(rest, "/portfolio/accounts")
        early = await get(rest, f"/portfolio/{CLIENTS[0]}/positions/0")
        clients = await get(rest, "/portfolio/subaccounts")
        page = await get(rest, "/portfolio/subaccounts2", page=0)
        beyond = await get(rest, "/portfolio/subaccounts2", page=1)
        of_master = await get(rest, f"/portfolio/{master['id']}/positions/0")
        late = await get(rest, f"/portfolio/{CLIENTS[0]}/positions/0")

    assert (master["accountId"], master["faclient"]) == ("F7100000", True)
    assert early == of_master == []
    assert [each["accountId"] for each in clients] == CLIENTS
    assert {each["parent"]["accountId"] for each in clients} == {"F7100000"}
    assert page["subaccounts"] == clients
    assert page["metadata"] == {"total": 3, "pageSize": 20, "pageNum": 0}
    assert beyond["subaccounts"] == []
    assert late


async def test_more_than_twenty_clients_come_in_pages(start):
    book = make_book()
    accounts = book.holdings["ibkr"].accounts
    many = {f"U72000{n:02d}": accounts[CLIENTS[n % 3]] for n in range(45)}
    accounts.clear()
    accounts.update(many)
    gateway = await start(book=book)
    async with gateway.open_rest() as rest:
        await get(rest, "/portfolio/accounts")
        pages = [
            await get(rest, "/portfolio/subaccounts2", page=page) for page in range(4)
        ]

    assert [len(page["subaccounts"]) for page in pages] == [20, 20, 5, 0]
    listed = [each["id"] for page in pages for each in page["subaccounts"]]
    assert listed == list(many)


async def test_rows_are_cold_first_and_some_of_them_stay_so(start):
    gateway = await start()
    async with gateway.open_rest() as rest:
        await get(rest, "/portfolio/accounts")
        await get(rest, "/portfolio/subaccounts")
        cold = await get(rest, f"/portfolio/{CLIENTS[0]}/positions/0")
        rows = await read_positions(rest)
        options = [row for row in rows if row["assetClass"] == "FOP"]
        lean = [row for row in options if row["expiry"] is None]
        conids = ",".join(str(row["conid"]) for row in lean)
        defined = (await get(rest, "/trsrv/secdef", conids=conids))["secdef"]

    assert all(row["expiry"] is None for row in cold)
    assert all(row["undConid"] == 0 for row in cold if row["assetClass"] == "FOP")
    assert len(lean) >= 2 < len(options)
    assert all(isinstance(row["conid"], str) for row in lean)
    assert [str(each["conid"]) for each in defined] == [row["conid"] for row in lean]
    assert all(re.fullmatch(r"\d{8}", each["expiry"]) for each in defined)
    assert all(each["undConid"] and each["strike"] != "0" for each in defined)


async def test_futures_are_defined_for_the_options_on_them(start):
    gateway = await start()
    async with gateway.open_rest() as rest:
        rows = await read_positions(rest)
        wanted = {row["undConid"] for row in rows if row["assetClass"] == "FOP"} - {0}
        conids = ",".join(map(str, sorted(wanted)))
        defined = (await get(rest, "/trsrv/secdef", conids=conids))["secdef"]

    assert {each["assetClass"] for each in defined} == {"FUT"}
    assert {each["conid"] for each in defined} == wanted
    assert {"ES", "MES", "EUR", "CL"} <= {each["ticker"] for each in defined}
    assert all(re.fullmatch(r"\d{8}", each["expiry"]) for each in defined)


async def test_beyond_the_lines_a_subscription_stays_empty_until_one_is_freed(start):
    gateway = await start(line_limit=10, rate=300.0)
    held = [option.conid for option in gateway.book.options["ibkr"]]
    with_line, without = held[:10], held[10:14]

    async with gateway.open_ready_socket() as client:
        await client.subscribe(*with_line, *without, fields=FIELDS)
        await client.receive_ticks(200)
        before = {frame["conid"] for frame in client.frames if "conid" in frame}
        for conid in with_line[:4]:
            await client.send(f"umd+{conid}+{{}}")
        await client.subscribe(*without, fields=FIELDS)
        await client.receive_for(2.5)
        after = {frame["conid"] for frame in client.frames if "conid" in frame}

    assert before == set(with_line)
    assert after == set(with_line + without)


async def test_an_option_has_its_own_prices_and_its_mark(start):
    gateway = await start(rate=300.0)
    option = gateway.book.options["ibkr"][0]

    async with gateway.open_ready_socket() as client:
        await client.subscribe(option.conid, fields=FIELDS)
        await client.receive_ticks(300)

    frames = client.of(option.conid)
    for field in ("31", "84", "86", "7635"):
        assert any(field in frame for frame in frames)
    only_prices = [f for f in frames if "7635" in f and not {*GREEKS, "7633"} & set(f)]
    assert only_prices


async def test_the_index_of_the_vix_has_only_a_mark(start):
    gateway = await start()
    [vix] = [u for u in gateway.market.underlyings if u.symbol == "VIX"]

    async with gateway.open_ready_socket() as client:
        await client.subscribe(vix.conid, fields=FIELDS)
        await client.receive_for(1.5)

    seen = {name for frame in client.of(vix.conid) for name in frame}
    assert "7635" in seen
    assert seen.isdisjoint({"31", "84", "86"})


async def test_unset_numbers_are_sent_and_the_ledger_has_no_value_for_them(start):
    gateway = await start(rate=300.0)
    conids = [option.conid for option in gateway.book.options["ibkr"]]
    async with gateway.open_ready_socket() as client:
        await client.subscribe(*conids, fields=FIELDS)
        await client.receive_ticks(500)
        gateway.simulator.stop()
        await client.receive_until_closed()

    sent = {
        str(frame[name]) for frame in client.frames for name in GREEKS & frame.keys()
    }
    assert len(sent & UNSET) >= 3
    frames = [without_unset(frame) for frame in client.frames]
    assert set(merge(frames)) == set(gateway.written)


def without_unset(frame):
    """Return the frame with nothing in place of each number that means "unset"."""
    names = {*GREEKS, "7633"} & frame.keys()
    return frame | {name: "" for name in names if str(frame[name]) in UNSET}


async def test_prices_of_shares_are_now_and_then_unset(start):
    gateway = await start()
    shares = [
        u.conid for u in gateway.market.underlyings if u.ibkr.asset_class == "STK"
    ]

    async with gateway.open_ready_socket() as client:
        await client.subscribe(*shares, fields=["31", "84", "86"])
        await client.receive_for(3.0)

    sent = {
        str(f[name]) for f in client.frames for name in ("31", "84", "86") if name in f
    }
    assert sent & {"-1", "-1.00", "0", "2147483647", "1.7976931348623157E308"}


async def test_an_event_contract_and_an_unreadable_row_never_have_greeks(start):
    gateway = await start()
    odd = [
        each.conid
        for each in gateway.market.underlyings
        if each.ibkr.is_event_contract or not each.ibkr.is_readable
    ]
    assert len(odd) == 2

    async with gateway.open_ready_socket() as client:
        await client.subscribe(*odd, fields=FIELDS)
        await client.receive_for(1.5)

    assert client.frames
    assert not any(GREEKS & frame.keys() for frame in client.frames)


async def test_a_split_changes_the_option_under_the_same_conid(start):
    gateway = await start(rate=300.0, split_at_s=3.0, imperfections=FLAWLESS)
    split = gateway.book.holdings["ibkr"].split
    conid = split.before.conid

    async with gateway.open_rest() as rest, gateway.open_ready_socket() as client:
        await client.subscribe(conid, fields=FIELDS)
        before = await read_positions(rest)
        await client.receive_for(3.2)
        await client.receive_until_silent()
        after = await read_positions(rest)
        with trio.fail_after(10):
            await client.receive_ticks(20)

    [old] = [row for row in before if row["conid"] == conid]
    [new] = [row for row in after if row["conid"] == conid]
    assert old["contractDesc"].startswith("LCID   ")
    assert new["contractDesc"].startswith("LCID1  ")
    assert new["undConid"] not in (0, old["undConid"])
    [shares_before] = [
        row
        for row in before
        if row.get("ticker") == "LCID" and row["assetClass"] == "STK"
    ]
    [shares_after] = [row for row in after if row["conid"] == shares_before["conid"]]
    assert shares_after["position"] == pytest.approx(shares_before["position"] / 10)
    assert shares_after["mktPrice"] == pytest.approx(
        shares_before["mktPrice"] * 10, rel=0.1
    )
    keys = [tick.contract_key for tick in gateway.ledger]
    assert keys == sorted(keys, key=lambda key: key.startswith("LCID1"))
    assert {key[:6] for key in keys} == {"LCID  ", "LCID1 "}
    # The first frame after the split names every value anew.
    since = gateway.ledger[keys.index(split.after.contract.contract_key)].event_time_ms
    first = next(f for f in client.of(conid) if f["_updated"] == since)
    assert GREEKS.keys() <= first.keys()
