"""The real book at the simulated Tastytrade, as an independent client sees it."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
import trio

from greeks_trio.simulators.ledger import read_ledger
from greeks_trio.simulators.tastytrade.instruments import streamer_symbol
from tests.acceptance.dxlink_client import (
    GREEKS,
    greeks_by_tick,
    open_feed,
    open_http,
    open_socket,
)
from tests.acceptance.real_book import start_tastytrade

UNSET = {1.7976931348623157e308, 2147483647.0, 9223372036854775807.0, -1.0, -2.0}
PRICES = ["eventSymbol", "time", "bidTime", "price", "bidPrice", "askPrice"]


@pytest.fixture
def start(nursery, tmp_path):
    async def start(**options):
        return await start_tastytrade(nursery, tmp_path / "ledger", **options)

    return start


async def read(http, path):
    answer = await http.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def read_items(endpoints):
    async with open_http(endpoints) as http:
        path = f"/accounts/{endpoints.account_id}/positions"
        return (await read(http, path))["items"]


async def test_positions_name_their_streamer_symbol_as_text_as_null_or_not(start):
    _, _, endpoints = await start()

    items = await read_items(endpoints)

    shares = [each for each in items if each["instrument-type"] == "Equity"]
    options = [each for each in items if each["instrument-type"] == "Future Option"]
    assert None in {each.get("streamer-symbol", "") for each in shares}
    named = {each.get("streamer-symbol", "") for each in options}
    assert "" in named  # not at all
    assert any(each.startswith("./EX3") and each.endswith(":XCME") for each in named)
    kinds = {each["instrument-type"] for each in items}
    assert kinds == {
        *("Equity", "Equity Option", "Future", "Future Option", "Cryptocurrency")
    }


async def test_a_future_names_its_product_and_its_option_names_the_future(start):
    _, _, endpoints = await start()
    items = await read_items(endpoints)
    [future] = [each for each in items if each["symbol"].startswith("/MYM")]
    [option] = [each for each in items if each["symbol"].startswith("./MYM")]

    async with open_http(endpoints) as http:
        page = await read(http, f"/instruments/futures/{future['symbol'][1:]}")
        same = await read(
            http, f"/instruments/futures/{quote(future['symbol'], safe='')}"
        )
        several = await read(
            http,
            f"/instruments/futures?symbol[]={quote(future['symbol'])}&symbol[]=%2FNO7",
        )
        missing = await http.get("/instruments/futures/NO7")

    assert future["underlying-symbol"] == "/MYM"
    assert option["underlying-symbol"] == future["symbol"] == page["symbol"]
    assert future["multiplier"] == option["multiplier"] == "0.5"
    assert page["streamer-symbol"].endswith(":XCBT")
    assert same == page
    assert several["items"] == [page]
    assert missing.status_code == 404


async def test_the_page_of_an_adjusted_option_names_its_deliverables(start):
    _, _, endpoints = await start()
    items = await read_items(endpoints)
    symbols = {each["symbol"][:6]: each["symbol"] for each in items}

    async with open_http(endpoints) as http:
        path = "/instruments/equity-options/"
        adjusted = await read(http, path + quote(symbols["BABA2 "], safe=""))
        plain = await read(http, path + quote(symbols["BABA  "], safe=""))

    amounts = {each["deliverable-type"]: each for each in adjusted["deliverables"]}
    assert amounts["Shares"]["amount"] == "107.0"
    assert amounts["Shares"]["symbol"] == "BABA"
    assert amounts["Cash"]["amount"] == "250.0"
    assert "deliverables" not in plain


async def test_a_lean_page_has_no_streamer_symbol(start):
    _, _, endpoints = await start()
    [oil] = [e for e in await read_items(endpoints) if e["symbol"].startswith("./CL")]

    async with open_http(endpoints) as http:
        path = f"/instruments/future-options/{quote(oil['symbol'], safe='')}"
        page = await read(http, path)

    assert oil["symbol"].endswith("P-5")
    assert oil["streamer-symbol"].endswith("P-5:XNYM")
    assert "streamer-symbol" not in page


async def test_one_account_is_closed(start):
    _, _, endpoints = await start()

    async with open_http(endpoints) as http:
        items = (await read(http, "/customers/me/accounts"))["items"]

    closed = {
        each["account"]["account-number"]: each["account"]["is-closed"]
        for each in items
    }
    assert sorted(closed.values()) == [False, False, False, True]
    assert [name for name, is_closed in closed.items() if not is_closed] == list(
        endpoints.account_ids
    )


async def test_unset_numbers_are_sent_and_the_ledger_has_no_value_for_them(
    start, tmp_path
):
    book, _, endpoints = await start(rate=1_000.0)
    options = book.options["tastytrade"]
    key_of = {streamer_symbol(o): o.contract.contract_key for o in options}

    async with open_feed(endpoints) as client:
        await client.subscribe(list(key_of))
        await client.receive_events(600)

    sent = {event[name] for event in client.events for name in GREEKS}
    assert len(sent & UNSET) >= 3
    events = [without_unset(event) for event in client.events]
    received = greeks_by_tick(events, key_of)
    ledger = {
        (tick.contract_key, tick.event_time_ms): (
            *(tick.delta, tick.gamma, tick.theta, tick.vega, tick.rho),
            tick.implied_volatility,
        )
        for tick in read_ledger(tmp_path / "ledger")
    }
    assert len(received) > 400
    assert received.items() <= ledger.items()


def without_unset(event):
    """Return the event with nothing in place of each number that means "unset"."""
    return {
        name: "NaN" if name in GREEKS and value in UNSET else value
        for name, value in event.items()
    }


async def test_trades_outside_the_session_can_be_subscribed(start):
    book, _, endpoints = await start()
    futures = [u for u in book.market.underlyings if u.symbol.startswith("/")]
    symbols = [each.tastytrade.streamer_symbol for each in futures]

    async with open_feed(endpoints, acceptEventFields={"TradeETH": PRICES}) as client:
        await client.subscribe(symbols, kind="TradeETH")
        await client.receive_events(len(symbols))

    assert {event["eventSymbol"] for event in client.events} == set(symbols)
    assert {event["eventType"] for event in client.events} == {"TradeETH"}
    prices = {event["eventSymbol"]: event["price"] for event in client.events}
    for future in futures:
        price = prices[future.tastytrade.streamer_symbol]
        assert price == pytest.approx(future.price, rel=0.01)


async def test_an_old_trade_stands_beside_a_live_quote_and_the_vix_is_silent(start):
    _, _, endpoints = await start()
    fields = {"Trade": PRICES, "Quote": PRICES}

    async with open_feed(endpoints, acceptEventFields=fields) as client:
        for kind in fields:
            await client.subscribe(["SNOW", "VIX", "SPY"], kind=kind)
        await client.receive_events(12)

    seen = {
        (event["eventSymbol"], event["eventType"]): event for event in client.events
    }
    trade, quoted = seen["SNOW", "Trade"], seen["SNOW", "Quote"]
    assert quoted["bidTime"] - trade["time"] > 3_600_000
    assert trade["price"] < 0.9 * quoted["bidPrice"]
    assert ("SPY", "Trade") in seen
    assert not any(symbol == "VIX" for symbol, _ in seen)


async def test_a_split_closes_the_old_option_and_opens_the_adjusted_one(
    start, tmp_path
):
    book, _, endpoints = await start(rate=500.0, split_at_s=2.5, unset_share=0.0)
    split = book.holdings["tastytrade"].split
    old, new = streamer_symbol(split.before), streamer_symbol(split.after)

    async with open_http(endpoints) as http, open_feed(endpoints) as client:
        token = http.headers["Authorization"]
        async with open_socket(endpoints.streamer_url) as streamer:
            connect = {"action": "connect", "value": [endpoints.account_id]}
            await streamer.send_message(json.dumps(connect | {"auth-token": token}))
            await streamer.get_message()
            await client.subscribe([old])
            told = []
            with trio.fail_after(10):
                while len(told) < 3:
                    told.append(json.loads(await streamer.get_message())["data"])
            await client.subscribe([new])
            with trio.fail_after(10):
                while not any(e["eventSymbol"] == new for e in client.events):
                    await client.receive()
    symbols = {each["symbol"]: each for each in await read_items(endpoints)}

    by_symbol = {each["symbol"]: each for each in told}
    closed = by_symbol[split.before.contract.contract_key]
    opened = by_symbol[split.after.contract.contract_key]
    assert int(closed["quantity"]) == 0 < int(opened["quantity"])
    assert closed["quantity-direction"] == "Zero"
    assert int(by_symbol["LCID"]["quantity"]) == 30
    assert split.before.contract.contract_key not in symbols
    assert opened["symbol"] in symbols
    keys = [tick.contract_key[:6] for tick in read_ledger(tmp_path / "ledger")]
    assert "LCID  " in keys
    assert "LCID  " not in keys[keys.index("LCID1 ") :]
