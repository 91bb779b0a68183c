"""The account values of both brokers: the service, real sockets, a real PostgreSQL."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import pytest
import trio

from greeks_trio.config.secret import Secret
from greeks_trio.config.settings import (
    Config,
    IbkrConfig,
    SpoolConfig,
    TastytradeConfig,
)
from greeks_trio.service import run_service
from greeks_trio.simulators.book.textbook import textbook_market
from greeks_trio.simulators.ibkr.broker import SimulatedIbkr
from greeks_trio.simulators.ledger import Ledger
from greeks_trio.simulators.market import BEAT_S
from greeks_trio.simulators.tastytrade.broker import SimulatedTastytrade
from tests.fix_processes import fetch, wait_until

pytestmark = pytest.mark.timeout(60)

INTERVALS = {"account_values_s": 1.0, "positions_interval_s": 1.0}


@asynccontextmanager
async def streaming(tmp_path, database):
    """Yield the running service and both brokers, with two accounts each."""
    market = textbook_market(contracts=20, seed=7, today=datetime.now(UTC).date())
    stop = trio.Event()
    with Ledger(tmp_path / "ledger") as ledger:
        ibkr = SimulatedIbkr(
            market, market.options[:10], ledger, rate=20.0, seed=7, accounts=2
        )
        tastytrade = SimulatedTastytrade(
            market, market.options[10:], ledger, rate=20.0, seed=7
        )
        async with trio.open_nursery() as brokers, trio.open_nursery() as nursery:
            at_ibkr = await brokers.start(ibkr.run, 0)
            at_tastytrade = await brokers.start(tastytrade.run, 0)
            config = Config(
                database=database,
                ibkr=IbkrConfig(
                    api_url=at_ibkr.rest_url,
                    ws_url=at_ibkr.ws_url,
                    ca_file=at_ibkr.ca_file,
                    **INTERVALS,
                ),
                tastytrade=TastytradeConfig(
                    secret=Secret(at_tastytrade.secret),
                    refresh=Secret(at_tastytrade.refresh),
                    api_url=at_tastytrade.api_url,
                    streamer_url=at_tastytrade.streamer_url,
                    **INTERVALS,
                ),
                http=None,
                spool=SpoolConfig(directory=tmp_path / "spool"),
            )
            running = await nursery.start(partial(run_service, config, stop=stop))
            yield running, ibkr, tastytrade
            stop.set()
            ibkr.stop()
            tastytrade.stop()


async def newest(database, account_id, at):
    """Return the newest row of an account that was read after a moment."""
    since = f"account_id = '{account_id}' and observed_at > '{at}'"
    await wait_until(database, f"select count(*) > 0 from account_values where {since}")
    [row, *_] = await fetch(
        database,
        "select broker, currency, net_liquidation::float8, cash::float8,"
        " buying_power::float8, derivative_buying_power::float8,"
        " initial_margin::float8, maintenance_margin::float8, excess_liquidity::float8,"
        " problem, abs(extract(epoch from observed_at - event_time)) < 5"
        f" from account_values where {since} order by observed_at desc",
    )
    return row


async def ticks_flow(database, at):
    """Wait until both brokers have a tick that was read after a moment."""
    await wait_until(
        database,
        "select count(distinct broker) = 2 from greek_snapshots"
        f" where received_at > '{at}'",
    )


def now():
    return datetime.now(UTC)


async def test_account_values_follow_the_brokers(tmp_path, database, proxy):
    async with streaming(tmp_path, replace(proxy.config, timeout_s=1.0)) as (
        running,
        ibkr,
        tastytrade,
    ):
        await ticks_flow(database, now())
        # Prices stand still, so the values are those of this moment.
        async with trio.open_nursery() as closed:
            for broker in (ibkr, tastytrade):
                closed.start_soon(broker.verbs["market-closed"], 60.0)
            # The last moves show at the next common beat of the market.
            await trio.sleep(2 * BEAT_S)
            at = now()
            for account in ("DU7654321", "DU7654322"):
                money = ibkr.money(account)
                assert await newest(database, account, at) == (
                    *("ibkr", "USD", money.net_liquidation, money.cash),
                    *(round(4 * money.available, 2), None, money.initial_margin),
                    *(money.maintenance_margin, money.excess_liquidity, None, True),
                )
            assert ibkr.money("DU7654321").maintenance_margin > 0
            for account in ("5SM00001", "5SM00002"):
                money = tastytrade.money(account)
                assert await newest(database, account, at) == (
                    *("tastytrade", "USD", money.net_liquidation, money.cash),
                    *(round(2 * money.available, 2), money.available, None),
                    *(money.maintenance_margin, money.excess_liquidity, None, True),
                )
            closed.cancel_scope.cancel()

        async with trio.open_nursery() as faults:
            faults.start_soon(tastytrade.verbs["refuse-values"], 60.0)
            faults.start_soon(ibkr.verbs["odd-values"], 60.0)
            await trio.sleep(2.5)
            reasons = {
                name: health.session().last_error
                for name, health in running.status.feeds.items()
            }
            assert reasons["tastytrade"].startswith(
                "2 accounts without values (5SM00001, 5SM00002): Tastytrade answered 403"
            )
            assert reasons["ibkr"].startswith("8 account values that cannot be read")
            at = now()
            row = await newest(database, "DU7654321", at)
            assert row[2:5] == (None, None, None)
            assert row[6] > 0
            assert row[7:9] == (None, None)
            assert row[9].startswith(
                "net_liquidation: 1.79769e+308 is not possible; cash: "
            )
            await ticks_flow(database, at)
            faults.cancel_scope.cancel()
        await newest(database, "5SM00001", now())

        # An account is gone.  The database is away meanwhile.
        proxy.go_deaf()
        await proxy.cut()
        at = now()
        ibkr.remove_account("DU7654322")
        await trio.sleep(3)
        back_at = now()
        proxy.hear_new_connections()
        await newest(database, "DU7654321", back_at)
        await newest(database, "5SM00001", back_at)
        rows = await fetch(
            database,
            "select account_id, count(*) from account_values"
            f" where observed_at between '{at}' and '{back_at}' group by 1",
        )
    numbers = dict(rows)
    assert min(numbers.pop("5SM00001"), numbers.pop("DU7654321")) >= 2
    assert numbers.get("DU7654322", 0) <= 2
    # Every account has one row for each of its readings.
    [(twice,)] = await fetch(
        database,
        "select count(*) from (select lead(observed_at) over (partition by account_id"
        " order by observed_at) - observed_at as pause from account_values) each"
        " where pause < interval '0.5 seconds'",
    )
    assert twice == 0
