"""The real book on the simulated brokers, for independent clients."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from greeks_trio.simulators.book.book import FLAWLESS, Plan
from greeks_trio.simulators.book.kinds import BOOKS
from greeks_trio.simulators.ibkr.broker import SimulatedIbkr
from greeks_trio.simulators.ledger import Ledger
from greeks_trio.simulators.tastytrade.broker import SimulatedTastytrade
from tests.acceptance.ibkr_client import Gateway

# Later than any test ends.
NEVER_S = 3_600.0


def make_book(*, contracts=60):
    plan = Plan(
        contracts=contracts,
        seed=3,
        today=datetime.now(UTC).date(),
        brokers=("ibkr", "tastytrade"),
    )
    return BOOKS["real"].make(plan)


def holdings_of(book, broker, split_at_s):
    holdings = book.holdings[broker]
    return replace(holdings, split=replace(holdings.split, at_s=split_at_s))


async def start_ibkr(
    nursery, path, *, book=None, rate=100.0, split_at_s=NEVER_S, **options
):
    """Return a gateway whose accounts hold the book."""
    book = book or make_book()
    options = {"imperfections": replace(FLAWLESS, unset_share=0.2), **options}
    simulator = SimulatedIbkr(
        book.market,
        book.options["ibkr"],
        Ledger(path),
        rate=rate,
        seed=7,
        holdings=holdings_of(book, "ibkr", split_at_s),
        **options,
    )
    endpoints = await nursery.start(simulator.run, 0)
    gateway = Gateway(simulator, book.market, endpoints, path)
    gateway.book = book
    return gateway


async def start_tastytrade(
    nursery, path, *, book=None, rate=200.0, split_at_s=NEVER_S, unset_share=0.2
):
    """Return a simulated Tastytrade whose accounts hold the book, and its endpoints."""
    book = book or make_book()
    simulator = SimulatedTastytrade(
        book.market,
        book.options["tastytrade"],
        Ledger(path),
        rate=rate,
        seed=7,
        holdings=holdings_of(book, "tastytrade", split_at_s),
        imperfections=replace(book.imperfections, unset_share=unset_share),
    )
    return book, simulator, await nursery.start(simulator.run, 0)
