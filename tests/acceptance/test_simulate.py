from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from urllib.parse import quote, urlsplit

import pytest
import trio

from greeks_trio.config.env_file import read_env_file
from greeks_trio.config.names import KNOWN
from greeks_trio.config.parse import parse_config
from greeks_trio.simulators.book.textbook import split_contracts
from greeks_trio.simulators.ibkr.endpoints import IbkrEndpoints
from greeks_trio.simulators.ledger import read_ledger
from greeks_trio.simulators.tastytrade.endpoints import TastytradeEndpoints
from tests.acceptance.dxlink_client import get, open_feed
from tests.acceptance.ibkr_client import Gateway
from tests.fix_processes import run_ingest

ENTRY = """
import sys, trio
from pathlib import Path
from greeks_trio.simulators.run import run_simulators
from greeks_trio.simulators.simulator import SimulateOptions

options = {options}
trio.run(run_simulators, SimulateOptions(**options))
"""
PARENT = """
import subprocess, sys

entry = {entry!r}
child = subprocess.Popen([sys.executable, "-c", entry])
print(child.pid, flush=True)
sys.stdin.read()
"""
URLS = {
    "ibkr": {
        *("rest_url", "ws_url", "ca_file", "gateway_ports"),
        *("account_id", "account_ids"),
    },
    "tastytrade": {
        *("api_url", "dxlink_url", "streamer_url", "secret", "refresh"),
        *("account_id", "account_ids"),
    },
}


@asynccontextmanager
async def open_simulators(**options):
    """Yield the process and its first line; end the process afterwards."""
    entry = ENTRY.format(options=options)
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", entry],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    try:
        async with process.stdout:
            yield process, json.loads(await read_line(process.stdout))
    finally:
        process.kill()
        with trio.move_on_after(5, shield=True):
            await process.wait()


async def streamer_symbol(endpoints, position):
    path = f"/instruments/equity-options/{quote(position['symbol'], safe='')}"
    return (await get(endpoints, path))["streamer-symbol"]


async def open_deaf_client(endpoints):
    """Return a stream that has become a WebSocket and then reads nothing."""
    host, _, port = endpoints.api_url.removeprefix("http://").partition(":")
    stream = await trio.open_tcp_stream(host, int(port))
    await stream.send_all(
        b"GET /realtime HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    await stream.receive_some()
    return stream


async def wait_closing(stream):
    """Return when the server has begun to close this WebSocket."""
    await stream.receive_some()


async def read_line(stream):
    line = b""
    while not line.endswith(b"\n"):
        chunk = await stream.receive_some()
        assert chunk, "ended before it said a line"
        line += chunk
    return line


async def test_one_line_tells_how_to_reach_both_brokers():
    async with open_simulators(contracts=4) as (_, endpoints):
        tastytrade = TastytradeEndpoints(**endpoints["tastytrade"])
        accounts = await get(tastytrade, "/customers/me/accounts")

    assert {name: set(urls) for name, urls in endpoints.items()} == URLS
    numbers = [item["account"]["account-number"] for item in accounts["items"]]
    assert tastytrade.account_id in numbers


async def test_each_account_of_each_broker_holds_something_when_asked_for(tmp_path):
    path = tmp_path / "ledger"
    options = {"contracts": 12, "rate": 400.0, "accounts": 3, "ledger": str(path)}
    async with open_simulators(**options) as (process, endpoints):
        tastytrade = TastytradeEndpoints(**endpoints["tastytrade"])
        held = {
            each: (await get(tastytrade, f"/accounts/{each}/positions"))["items"]
            for each in tastytrade.account_ids
        }
        symbols = [
            await streamer_symbol(tastytrade, each)
            for each in held[tastytrade.account_id]
            if each["instrument-type"] == "Equity Option"
        ]
        async with open_feed(tastytrade) as client:
            await client.subscribe(symbols)
            await client.receive_events(100)
            process.terminate()
            await client.receive_to_end()
        await process.wait()

    owners = {
        (position["account-number"], position["symbol"])
        for positions in held.values()
        for position in positions
        if position["instrument-type"] == "Equity Option"
    }
    told = {(tick.account_id, tick.contract_key) for tick in read_ledger(path)}
    assert len(endpoints["ibkr"]["account_ids"]) == 3
    assert [len(positions) for positions in held.values()] == [8, 0, 2, 2]
    assert told <= owners
    assert {account for account, _ in told} == {account for account, _ in owners}


async def test_lines_and_ends_of_subscriptions_at_ibkr_can_be_chosen():
    options = {"contracts": 20, "rate": 200.0, "only": "ibkr", "ibkr_lines": 3}
    options["ibkr_stream_end"] = 0.5
    async with open_simulators(**options) as (_, endpoints):
        gateway = Gateway(None, None, IbkrEndpoints(**endpoints["ibkr"]), None)
        async with gateway.open_rest() as rest, gateway.open_ready_socket() as client:
            await rest.get("/portfolio/accounts")
            account_id = gateway.endpoints.account_id
            rows = (await rest.get(f"/portfolio/{account_id}/positions/0")).json()
            await client.subscribe(*(row["conid"] for row in rows))
            await client.receive_until_silent()

    told = {each["conid"] for each in client.frames if "conid" in each}
    assert len(rows) > 3
    assert len(told) == 3


async def test_the_time_after_which_ibkr_forgets_an_idle_session_can_be_chosen():
    options = {"contracts": 2, "only": "ibkr", "ibkr_session_timeout": 0.3}
    async with open_simulators(**options) as (_, endpoints):
        gateway = Gateway(None, None, IbkrEndpoints(**endpoints["ibkr"]), None)
        async with gateway.open_ready_socket() as client:
            while (await client.receive_until("sts"))["args"]["authenticated"]:
                pass


async def test_one_broker_alone_can_be_run_and_is_the_same_again():
    runs = []
    for _ in range(2):
        async with open_simulators(contracts=9, only="tastytrade") as (_, endpoints):
            tastytrade = TastytradeEndpoints(**endpoints["tastytrade"])
            path = f"/accounts/{tastytrade.account_id}/positions"
            items = (await get(tastytrade, path))["items"]
        options = [i for i in items if i["instrument-type"] == "Equity Option"]
        runs.append(
            (
                tastytrade.secret,
                [
                    (i["symbol"], i["quantity"], i["quantity-direction"])
                    for i in options
                ],
            )
        )

    assert set(endpoints) == {"tastytrade"}
    assert len(runs[0][1]) == 5
    assert runs[0] == runs[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_after_the_clients_have_read_everything(
    tmp_path, number
):
    path = tmp_path / "ledger"
    # Text in the other process's program.
    options = {"contracts": 10, "rate": 400.0, "ledger": str(path)}

    async with open_simulators(**options) as (process, endpoints):
        tastytrade = TastytradeEndpoints(**endpoints["tastytrade"])
        path_of_positions = f"/accounts/{tastytrade.account_id}/positions"
        positions = (await get(tastytrade, path_of_positions))["items"]
        symbols = [await streamer_symbol(tastytrade, p) for p in positions[:-2]]
        async with open_feed(tastytrade) as client:
            await client.subscribe(symbols)
            await client.receive_events(50)
            process.send_signal(number)
            code = await client.receive_to_end()
        status = await process.wait()

    times = {event["time"] for event in client.events if event["delta"] != "NaN"}
    assert (code, status) == (1000, 0)
    assert {tick.event_time_ms for tick in read_ledger(path)} == times


async def test_a_second_signal_ends_it_at_once():
    async with open_simulators(contracts=4, only="tastytrade") as (process, endpoints):
        tastytrade = TastytradeEndpoints(**endpoints["tastytrade"])
        # Who does not read keeps the first signal's clean end waiting.
        stream = await open_deaf_client(tastytrade)
        process.send_signal(signal.SIGTERM)
        await wait_closing(stream)
        process.send_signal(signal.SIGTERM)
        status = await process.wait()
        await stream.aclose()

    assert status == -signal.SIGTERM


async def test_a_taken_port_is_an_error():
    async with open_simulators(contracts=4, only="tastytrade") as (_, endpoints):
        port = int(endpoints["tastytrade"]["api_url"].rpartition(":")[2])
        options = {"only": "tastytrade", "ports": {"tastytrade": port}}
        done = await trio.run_process(
            [sys.executable, "-c", ENTRY.format(options=options)],
            capture_stderr=True,
            check=False,
        )

    assert done.returncode == 1
    assert b"OSError" in done.stderr


async def test_it_may_end_with_its_parent():
    entry = ENTRY.format(options={"contracts": 4, "ends_with_parent": True})
    parent = await trio.lowlevel.open_process(
        [sys.executable, "-c", PARENT.format(entry=entry)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )

    async with parent.stdin, parent.stdout:
        lines = await read_line(parent.stdout)
        while lines.count(b"\n") < 2:
            lines += await read_line(parent.stdout)
        parent.kill()
        await parent.wait()
        # The child holds the other end of this pipe until it ends.
        rest = await parent.stdout.receive_some()

    assert json.loads(lines.splitlines()[1]).keys() == URLS.keys()
    assert rest == b""


def test_each_broker_has_half_and_a_tenth_of_it_is_shared():
    assert split_contracts(200, 2) == [range(100), range(90, 190)]


@pytest.mark.parametrize("contracts", [1, 2, 3, 7, 99, 1_001])
def test_a_split_leaves_no_contract_and_no_broker_out(contracts):
    ibkr, tastytrade = split_contracts(contracts, 2)

    assert len(ibkr) + len(tastytrade) == max(2, contracts)
    assert ibkr.start == 0
    assert ibkr.start <= tastytrade.start < ibkr.stop <= tastytrade.stop


async def test_it_prints_the_settings_that_lead_to_its_brokers(tmp_path):
    options = ("--print-env", "--contracts", "20", "--ibkr-lines", "7")
    async with run_ingest("simulate", *options, cwd=tmp_path) as simulators:
        await simulators.wait_line("TT_REFRESH", stream="stdout")
        content = read_env_file("\n".join(simulators.lines["stdout"]))
        config = parse_config(content.values)
        port = urlsplit(config.tastytrade.api_url).port
        await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
        assert await simulators.stop() == 0

    assert content.problems == []
    assert config.ibkr.market_data_lines == 7
    assert set(content.values) <= KNOWN
