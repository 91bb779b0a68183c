"""Betas from Tastytrade and from a file: the service, real sockets, a real PostgreSQL."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial

import httpx2
import pytest
import trio

from greeks_trio.commands.beta_weighted import run_beta_weighted
from greeks_trio.config.secret import Secret
from greeks_trio.config.settings import (
    Config,
    HttpConfig,
    SpoolConfig,
    TastytradeConfig,
)
from greeks_trio.service import run_service
from greeks_trio.simulators.book.textbook import textbook_market
from greeks_trio.simulators.ledger import Ledger
from greeks_trio.simulators.tastytrade.broker import SimulatedTastytrade
from greeks_trio.simulators.tastytrade.metrics import beta_of, iv_rank_of
from tests.fix_processes import fetch, wait_until

pytestmark = pytest.mark.timeout(60)

SYMBOLS = ("SPY", "SPX", "AAPL", "NVDA", "BRK/B", "F", "TSLA", "QQQ")
BETAS = "[betas]\nTSLA = { beta = 2.5, date = 2026-11-02 }\n"


@asynccontextmanager
async def streaming(tmp_path, database, betas):
    market = textbook_market(contracts=40, seed=7, today=datetime.now(UTC).date())
    stop = trio.Event()
    with Ledger(tmp_path / "ledger") as ledger:
        broker = SimulatedTastytrade(market, market.options, ledger, rate=100.0, seed=7)
        async with trio.open_nursery() as brokers, trio.open_nursery() as nursery:
            at = await brokers.start(broker.run, 0)
            config = Config(
                database=database,
                tastytrade=TastytradeConfig(
                    secret=Secret(at.secret),
                    refresh=Secret(at.refresh),
                    api_url=at.api_url,
                    streamer_url=at.streamer_url,
                    market_metrics_s=2.0,
                ),
                http=HttpConfig(port=0),
                spool=SpoolConfig(directory=tmp_path / "spool"),
                betas_file=betas,
            )
            running = await nursery.start(
                partial(run_service, config, load=lambda: config, stop=stop)
            )
            yield running, broker
            stop.set()
            broker.stop()


async def test_betas_of_the_broker_and_of_a_file(
    tmp_path, database, capsys, monkeypatch
):
    file = tmp_path / "betas.toml"
    file.write_text(BETAS)
    async with streaming(tmp_path, database, file) as (running, broker):
        await wait_until(
            database,
            "select count(distinct symbol) = 8 from market_metrics"
            " where source = 'tastytrade'",
        )
        await wait_until(
            database,
            "select count(*) > 0 from market_metrics where source = 'timeline'",
        )
        stored = await fetch(
            database,
            "select distinct symbol, beta, iv_rank from market_metrics"
            " where source = 'tastytrade'",
        )
        assert sorted(stored) == sorted(
            (each, beta_of(each), iv_rank_of(each)) for each in SYMBOLS
        )
        found = {
            symbol: (beta, source)
            for symbol, beta, source in await fetch(
                database,
                "select symbol, beta, beta_source from latest_market_metrics",
            )
        }
        assert found["TSLA"] == (2.5, "file")
        assert found["AAPL"] == (beta_of("AAPL"), "tastytrade")
        assert found["SPX"] == (None, None)

        async with httpx2.AsyncClient(base_url=running.http_url) as client:
            answer = await client.get("/v1/risk/beta-weighted/totals")
            [every, *_] = answer.json()["items"]
            rows = (await client.get("/v1/risk/beta-weighted")).json()["items"]
        assert every["account_id"] is None
        assert every["without_beta"] == ["SPX"]
        assert every["missing_beta"] > 0
        by_symbol = {each["underlying"]: each for each in rows}
        row = by_symbol["TSLA"]
        assert row["beta_weighted_delta"] == pytest.approx(
            row["dollar_delta"] * 2.5 / row["benchmark_price"]
        )
        assert by_symbol["SPX"]["missing"] == ["beta"]

        monkeypatch.setenv("GREEKS_ENV_FILE", "/dev/null")
        ask = partial(run_beta_weighted, url=running.http_url, as_json=False)
        assert await ask(params={}) == 0
        out = capsys.readouterr().out
        assert "Delta in shares of SPY at" in out
        assert "* SPX, tastytrade 5SM00001: no beta is known" in out
        assert await ask(params={"benchmark": "x" * 500}) == 2
        assert "The service refuses the request: benchmark" in capsys.readouterr().err

        # A refusal is a note: the feed stays as it is, and ticks go on.
        async with trio.open_nursery() as faults:
            faults.start_soon(broker.verbs["refuse-metrics"], 60.0)
            health = running.status.feeds["tastytrade"]
            # A reading comes every two seconds.
            await trio.sleep(3)
            session = health.session()
            assert session.status == "connected"
            [note] = [each for each in session.notes if "metrics" in each]
            assert note.startswith(
                "market metrics cannot be read: Tastytrade answered 403"
            )
            now = datetime.now(UTC)
            await wait_until(
                database,
                f"select count(*) > 0 from greek_snapshots where received_at > '{now}'",
            )
            faults.cancel_scope.cancel()
