"""Estimates of the whole service against the true Greeks of the simulated market."""

from __future__ import annotations

import os
import signal
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import httpx2
import pytest
import trio

from greeks_trio.config.secret import Secret
from greeks_trio.config.settings import (
    Config,
    HttpConfig,
    IbkrConfig,
    SpoolConfig,
    TastytradeConfig,
)
from greeks_trio.service import run_service
from greeks_trio.simulators.book.textbook import textbook_market
from greeks_trio.simulators.ibkr.broker import SimulatedIbkr
from greeks_trio.simulators.ledger import Ledger
from greeks_trio.simulators.tastytrade.broker import SimulatedTastytrade
from tests.fix_processes import fetch, wait_until

pytestmark = pytest.mark.timeout(60)

GREEKS = ("delta", "gamma", "theta", "vega", "rho")
CONTRACTS = 10


@asynccontextmanager
async def streaming(tmp_path, database):
    """Yield the market and a service with estimates; Tastytrade's options stay cold."""
    market = textbook_market(contracts=60, seed=7, today=datetime.now(UTC).date())
    calls = [each for each in market.options if each.terms.option_type == "call"]
    # Both brokers have the same contracts.
    options = calls[-CONTRACTS:]
    with Ledger(tmp_path / "ledger") as ledger:
        ibkr = SimulatedIbkr(market, options, ledger, rate=40.0, seed=7)
        tastytrade = SimulatedTastytrade(market, options, ledger, rate=40.0, seed=7)
        async with trio.open_nursery() as brokers, trio.open_nursery() as nursery:
            nursery.start_soon(tastytrade.verbs["cold"], 60.0)
            at_ibkr = await brokers.start(ibkr.run, 0)
            at_tastytrade = await brokers.start(tastytrade.run, 0)
            config = Config(
                database=database,
                ibkr=IbkrConfig(
                    api_url=at_ibkr.rest_url,
                    ws_url=at_ibkr.ws_url,
                    ca_file=at_ibkr.ca_file,
                ),
                tastytrade=TastytradeConfig(
                    secret=Secret(at_tastytrade.secret),
                    refresh=Secret(at_tastytrade.refresh),
                    api_url=at_tastytrade.api_url,
                    streamer_url=at_tastytrade.streamer_url,
                ),
                http=HttpConfig(port=0),
                spool=SpoolConfig(directory=tmp_path / "spool"),
                estimates=True,
            )
            stop = trio.Event()
            without = replace(config, estimates=False)
            running = await nursery.start(
                partial(run_service, config, load=lambda: without, stop=stop)
            )
            yield market, options, ibkr, running.http_url
            stop.set()
            ibkr.stop()
            tastytrade.stop()
            nursery.cancel_scope.cancel()


async def test_missing_greeks_are_estimated_and_marked(tmp_path, database):
    async with streaming(tmp_path, database) as (market, options, ibkr, url):
        each = f"count(*) = {CONTRACTS}"
        ticks = (
            f"select {each} from latest_greeks where broker = 'ibkr' and not is_stale"
            # The first frame of a contract may lack some.
            " and delta + gamma + theta + vega is not null"
        )
        await wait_until(database, ticks)
        async with trio.open_nursery() as closed:
            # Prices stand still, so the inputs are those of this moment.
            closed.start_soon(ibkr.verbs["market-closed"], 60.0)
            await trio.sleep(0.3)
            await wait_until(
                database,
                f"select count(*) = {2 * CONTRACTS} from estimated_greeks where"
                f" no_estimate_reason is null and computed_at > '{datetime.now(UTC)}'",
            )
            truth = {
                each.contract.contract_key: market.greeks(each) for each in options
            }
            closed.cancel_scope.cancel()

        names = [f"{name}, {name}_source" for name in GREEKS]
        rows = await fetch(
            database,
            "select broker, contract_key, expiration - current_date, no_estimate_reason,"
            f" {', '.join(names)} from greeks_with_estimates",
        )
        assert len(rows) == 2 * CONTRACTS
        for broker, key, days, reason, *values in rows:
            found = dict(zip(GREEKS, values[::2], strict=True))
            estimated = ["rho"] if broker == "ibkr" else list(GREEKS)
            assert values[1::2] == [
                "estimated" if name in estimated else "broker" for name in GREEKS
            ]
            assert reason is None
            # The market takes whole days and a half to the expiration.  Its prices moved
            # on for a moment.
            assert found["rho"] == pytest.approx(truth[key].rho, rel=0.01 + 2.0 / days)
            assert found["delta"] == pytest.approx(truth[key].delta, abs=0.03)

        [sums] = await fetch(
            database,
            "select sum(estimated_rho), sum(rho), sum(missing_rho),"
            " sum(estimated_option_delta) filter (where broker = 'ibkr'),"
            " sum(missing_vega) from portfolio_with_estimates",
        )
        assert sums[0] == pytest.approx(sums[1])
        assert sums[2:] == (0, 0, 0)
        [(hole,)] = await fetch(
            database,
            "select count(*) from latest_greeks where rho is not null",
        )
        assert hole == 0

        async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:
            lines = await client.get(
                "/v1/greeks/estimates", params={"format": "csv", "broker": "ibkr"}
            )
            names, first, *_ = (line.split(",") for line in lines.text.splitlines())
            row = dict(zip(names, first, strict=True))
            assert row["rho_source"].strip('"') == "estimated"
            assert row["vega_source"].strip('"') == "broker"
            sums = (await client.get("/v1/portfolio/estimates")).json()["items"]
            assert all(each["estimated_rho"] == each["rho"] for each in sums)

            os.kill(os.getpid(), signal.SIGHUP)
            await wait_until(database, "select count(*) = 0 from estimated_greeks")
            items = (await client.get("/v1/greeks/estimates")).json()["items"]
            assert {each["rho_source"] for each in items} == {None}
            assert {each["no_estimate_reason"] for each in items} == {"not computed"}
