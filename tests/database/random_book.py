"""A book in which every value is missing at times, for the tests of the sums."""

from __future__ import annotations

from datetime import timedelta

import psycopg

from tests.database.risk_rows import hold, hold_shares, seconds, tick


def tag(db: psycopg.Connection, key: str, strategy: str | None, **place: str) -> None:
    at = {"broker": "ibkr", "account_id": "U1", **place}
    db.execute(
        "insert into position_tags values (%s, %s, %s, %s)",
        [at["broker"], at["account_id"], key, strategy],
    )


def random_book(db, chance, now, *, expiration):
    """Hold options, shares, futures and odd things, with every value missing at times."""
    tags = ("condor", "wheel", None)
    for number in range(40):
        broker, account = chance.choice(
            [("ibkr", "U1"), ("ibkr", "U2"), ("tastytrade", "T1")]
        )
        place = {"broker": broker, "account_id": account}
        underlying = chance.choice(["SPY", "QQQ", "RY:CAD"])
        currency = None if broker == "tastytrade" else chance.choice(["USD", "CAD"])
        of = {"underlying": underlying, "currency": currency, **place}
        kind = chance.choice(
            [*["option"] * 6, *["equity"] * 2, "future", "other", "unknown"]
        )
        key = f"K{number}"
        many = chance.choice([-3, -1, 2, 5])
        at = now - timedelta(hours=1)
        if kind == "option":
            hold(
                db,
                many,
                key,
                **of,
                at=at,
                multiplier=chance.choice([100, 100, 100, 10, None]),
                price_factor=chance.choice([1, 1, 0.01, None]),
                expiration=expiration + timedelta(days=chance.choice([0, 5, 40])),
            )
            random_ticks(db, chance, now, key, place, underlying)
        else:
            hold_shares(db, many, contract_key=key, kind=kind, **of, at=at)
        if chance.random() < 0.5:
            tag(db, key, chance.choice(tags), **place)


def random_ticks(db, chance, now, key, place, underlying):
    for age_s in sorted(chance.sample([400, 90, 30, 5], chance.randrange(4)))[::-1]:
        rarely = [None] if chance.random() < 0.5 else []
        values = {
            name: chance.choice([chance.uniform(0.1, 0.9), 0.5, 0.25, *rarely])
            for name in ("gamma", "theta", "vega", "rho", "implied_volatility")
        }
        tick(
            db,
            key,
            **place,
            underlying=underlying,
            event_time=now - seconds(age_s),
            delta=chance.uniform(-1, 1),
            availability=chance.choice(["realtime"] * 4 + ["delayed"]),
            underlying_price=chance.choice([*rarely, 50.0, 60.0]),
            price=chance.choice([*rarely, 1.25, 2.5]),
            **values,
        )
