"""The demo with the real book: every instrument is itself, and every tick is stored once."""

from __future__ import annotations

import json

import psycopg
import pytest

from greeks_trio.postgres.connection import TrioConnection
from tests.fix_processes import run_ingest, wait_until_on
from tests.risk_agreement import agreed_sums

pytestmark = pytest.mark.timeout(180)

# So few that each contract has a market-data line.
FEW = ("--contracts", "90")
EVERY_SPELLING = (
    *("./EX3 ", "./E2D ", "./LO  ", "./EUU ", "./MES ", "./ES  ", "./ZN2 ", "./OZC "),
    *("./EX4 ", "./E3A ", "SPY   ", "SPXW  ", "BRKB  ", "VIXW  ", "RY    ", "SAP   "),
    *("LCID1 ", "ibkr:"),
)
SEEN = " and ".join(
    "exists (select from greek_snapshots where broker = 'ibkr'"
    f" and starts_with(contract_key, '{start}'))"
    for start in EVERY_SPELLING
)
COUNTS = ("lost", "duplicates", "unexpected", "quarantined")


async def ask(connection, query):
    cursor = await connection.execute(query)
    return await cursor.fetchall()


async def test_every_tick_is_stored_once_and_the_table_has_each_instrument(tmp_path):
    arguments = ("demo", "--book", "real", *FEW, "--rate", "200", "--json")
    async with run_ingest(*arguments, cwd=tmp_path) as demo:
        dsn = (await demo.read_json())["dsn"]
        changed = await demo.wait_line("ibkr.contract_changed")
        connection = await TrioConnection.connect(dsn, autocommit=True)
        await wait_until_on(connection, SEEN)
        async with await TrioConnection.connect(dsn) as connection:
            positions = {
                (broker, key): (kind, quantity)
                for broker, key, kind, quantity in await ask(
                    connection,
                    "select broker, contract_key, kind, quantity from positions",
                )
            }
            ticks = await ask(
                connection,
                "select distinct broker, contract_key from greek_snapshots",
            )
            [(start, end)] = await ask(
                connection,
                "select min(received_at), max(received_at) from greek_snapshots",
            )
            underlyings = await ask(
                connection,
                "select distinct coalesce(underlying, contract_key) from positions",
            )
        # Each instrument counts for the sums over time as it does at a single moment.
        moments = [start + (end - start) * 0.6]
        with psycopg.connect(dsn, autocommit=True) as plain:
            summed = sum(
                bool(agreed_sums(plain, moments, name)) for (name,) in underlyings
            )
        assert summed > 15
        assert await demo.stop() == 0, demo.transcript()

    result = json.loads(demo.lines["stdout"][-1])
    assert {name: result[name] for name in COUNTS} == dict.fromkeys(COUNTS, 0)
    for counts in result["brokers"].values():
        assert counts["sent"] == counts["persisted"] > 0
    assert demo.count("Deliberate imperfections") == 1
    assert "LCID1" in changed
    for broker in ("ibkr", "tastytrade"):
        quantities = {
            key[:6]: quantity
            for (name, key), (_, quantity) in positions.items()
            if name == broker and key.startswith("LCID") and len(key) > 6
        }
        assert quantities["LCID  "] == 0, quantities
        assert quantities["LCID1 "] != 0, quantities
    streamed = {broker: set() for broker in ("ibkr", "tastytrade")}
    for broker, key in ticks:
        streamed[broker].add(key)
    assert any(key.startswith("LCID1 ") for key in streamed["tastytrade"])
    for start in ("./EX3 ", "./LO  ", "./EUU ", "./MYM ", "./D4A ", "SPY   ", "BRKB  "):
        assert any(key.startswith(start) for key in streamed["tastytrade"]), start
    # The Canadian option, four of Eurex, and one in London.
    assert sum(key.startswith("ibkr:") for key in streamed["ibkr"]) >= 1
    assert any(key.startswith("BABA2 ") for key in streamed["tastytrade"])
    at_ibkr = [key for name, key in positions if name == "ibkr"]
    assert {"RY", "AAPL", "VOD:LSE"} <= set(at_ibkr)
    assert sum(key.startswith("RY:") for key in at_ibkr) == 1
    assert sum(key.startswith("/ES") for key in at_ibkr) == 2
    kinds = [kind for kind, _ in positions.values()]
    assert kinds.count("unknown") == 2  # one at each broker
    assert demo.count("ibkr.position_unreadable") >= 1
