"""The real book: the mixture of a person who trades more than American options.

An advisor with three clients at IBKR, who hold more options than there are market-data
lines; two open accounts and a closed one at Tastytrade.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from random import Random
from typing import Final

from greeks_trio.model.contracts import Conid
from greeks_trio.simulators.book.abroad import Abroad, make_abroad
from greeks_trio.simulators.book.american import American, make_american
from greeks_trio.simulators.book.book import Book, Holdings, Imperfections, Plan
from greeks_trio.simulators.book.futures import Futures, make_futures
from greeks_trio.simulators.book.makers import Maker
from greeks_trio.simulators.market import Market, SimulatedOption

CONTRACTS: Final = 270
ADVISOR: Final = "F7100000"
CLIENTS: Final = ("U7100001", "U7100002", "U7100003")
TASTYTRADE_ACCOUNTS: Final = ("5SM00001", "5SM00002", "5SM00003")
CLOSED_ACCOUNT: Final = "5SM00009"
IMPERFECTIONS: Final = Imperfections(
    delayed_every=97,
    illiquid_every=12,
    wrong_status_share=0.01,
    unset_share=0.02,
)
_QUANTITIES: Final = (-10, -3, -2, -1, 1, 2, 5, 10)
_Quantities = dict[Conid, float]


def make_real_book(plan: Plan) -> Book:
    """Return the book; it has at least one option of every kind at each broker."""
    maker, random = Maker(plan.today), Random(plan.seed)
    american = make_american(maker, plan.today)
    futures = make_futures(maker, plan.today)
    abroad = make_abroad(maker, plan.today, american)
    at_tastytrade = (
        *american.both,
        *futures.both,
        *american.tastytrade,
        *futures.tastytrade,
        american.split.before,
    )
    at_ibkr = (
        *american.both,
        *futures.both,
        *american.ibkr,
        *futures.ibkr,
        *abroad.options,
        american.split.before,
    )
    missing = max(0, plan.contracts - len(at_tastytrade) - len(at_ibkr))
    at_ibkr += tuple(islice(futures.filling, missing))
    holdings = {
        "ibkr": _ibkr(at_ibkr, american, futures, abroad, random),
        "tastytrade": _tastytrade(at_tastytrade, american, futures, random),
    }
    # The adjusted option is no contract of its own at IBKR.
    options = [each for each in maker.options if each is not american.split.after]
    market = Market(maker.underlyings, options, random=random, today=plan.today)
    return Book(
        market=market,
        options={"ibkr": at_ibkr, "tastytrade": at_tastytrade},
        holdings=holdings,
        imperfections=IMPERFECTIONS,
    )


def _ibkr(
    options: Sequence[SimulatedOption],
    american: American,
    futures: Futures,
    abroad: Abroad,
    random: Random,
) -> Holdings:
    near, far = futures.calendar
    first: _Quantities = {near.conid: 3.0, far.conid: -1.0}
    first |= {each.conid: 2.0 for each in futures.held}
    second: _Quantities = {
        american.apple.conid: 100.0,
        american.royal.conid: 100.0,
        american.sap.conid: 35.0,
        american.splitting.conid: 1000.0,
    }
    third: _Quantities = {each.conid: -40.0 for each in abroad.shares}
    third |= {each.conid: 20.0 for each in abroad.others}
    third[abroad.unreadable.conid] = 3.0
    accounts: tuple[_Quantities, ...] = (first, second, third)
    for number, option in enumerate(options):
        accounts[number % 3][option.conid] = float(random.choice(_QUANTITIES))
    # One option is held by two clients.
    accounts[1][options[0].conid] = 4.0
    return Holdings(
        accounts=dict(zip(CLIENTS, accounts, strict=True)),
        master=ADVISOR,
        split=american.split,
    )


def _tastytrade(
    options: Sequence[SimulatedOption],
    american: American,
    futures: Futures,
    random: Random,
) -> Holdings:
    near, far = futures.calendar
    instruments = (near, far, *futures.at_tastytrade, *american.others)
    first: _Quantities = {each.conid: -2.0 for each in instruments}
    first |= {each.conid: 300.0 for each in american.shares}
    first |= {each.conid: float(random.choice(_QUANTITIES)) for each in options}
    third: _Quantities = {options[0].conid: -1.0}
    accounts: Mapping[str, Mapping[Conid, float]] = dict(
        zip(TASTYTRADE_ACCOUNTS, (first, {}, third), strict=True)
    )
    return Holdings(accounts=accounts, closed=(CLOSED_ACCOUNT,), split=american.split)
