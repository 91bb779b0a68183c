"""The possible values of each field, by kind of instrument.  Pure.

Brokers send numbers that mean nothing: the largest double of C and Java
(1.7976931348623157E308), the largest integers of 32 and 64 bits, -1 and -2.  Their
programs keep these for "unset".  An impossible value is a missing one; the broker's
message keeps it.

`_GREEKS` and `_PRICES` are the rules.  `is_possible` is the same for the Greeks and
prices of one event, written out, because every tick passes it.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from msgspec import structs

from greeks_trio.model.records import BrokerGreeks, Greeks

# The kinds of instruments with a price.  Only the prices of futures may be negative.
PriceKind = Literal["option", "share", "index", "future"]

# Sensitivities and prices of real instruments stay far below.  The largest integer of 32
# bits, which stands for "unset", is above.
LARGEST: Final = 1e9
# The smallest doubles of C and Java, which stand for "unset" too, are below.
SMALLEST: Final = 1e-9


class Range(NamedTuple):
    """The possible values of a field.

    Attributes:
        low: The smallest value.
        high: The largest value.
        reason: The fact behind the limits.
        unset: Values inside the limits that stand for a missing one.
    """

    low: float
    high: float
    reason: str
    unset: tuple[float, ...] = ()

    def has(self, value: float) -> bool:
        """Return whether the value is possible; NaN never is."""
        return self.low <= value <= self.high and value not in self.unset


_SENSITIVITY: Final = "any sign; no real one is so large"
_CONVEX: Final = "not below zero but for rounding, so -1 and -2 stand for unset"
_GREEKS: Final = {
    "delta": Range(-1.05, 1.05, "at most one unit of the underlying, and rounding"),
    "gamma": Range(-LARGEST, LARGEST, _CONVEX, unset=(-1.0, -2.0)),
    "theta": Range(-LARGEST, LARGEST, _SENSITIVITY),
    "vega": Range(-LARGEST, LARGEST, _CONVEX, unset=(-1.0, -2.0)),
    "rho": Range(-LARGEST, LARGEST, _SENSITIVITY),
    "implied_volatility": Range(
        SMALLEST, 100.0, "a fraction; 0 and -1 stand for unset"
    ),
}
_OPTION: Final = {
    "price": Range(0.0, LARGEST, "an option is a right, so it may be worthless"),
    "bid": Range(0.0, LARGEST, "0 is the bid for a worthless option"),
    "ask": Range(SMALLEST, LARGEST, "0 says that there is no offer"),
}
_POSITIVE: Final = "always above zero; 0 and -1 stand for unset"
_PRICES: Final[dict[PriceKind, Range]] = {
    "option": _OPTION["price"],
    "share": Range(SMALLEST, LARGEST, _POSITIVE),
    "index": Range(SMALLEST, LARGEST, _POSITIVE),
    "future": Range(-LARGEST, LARGEST, "oil was at -37.63 in 2020"),
}
_NOT_SET: Final = (-1.0, -2.0)
# Futures cost 0 or -1 at times, but far more often these stand for "unset".  Such a side
# of a market is real if the other side is as near as this.
_NEAR: Final = 1.0


def price_range(kind: PriceKind) -> Range:
    """Return the possible prices of a kind of instrument."""
    return _PRICES[kind]


def is_possible(event: BrokerGreeks) -> bool:
    """Return whether all values of the event that are not missing are possible."""
    # One comparison after the other: a look at the table takes ten times as long.
    greeks = event.greeks
    if (value := greeks.delta) is not None and not -1.05 <= value <= 1.05:
        return False
    if (value := greeks.gamma) is not None and not (
        (value >= 0.0 or (value >= -1e9 and value != -1.0 and value != -2.0))
        and value <= 1e9
    ):
        return False
    if (value := greeks.theta) is not None and not -1e9 <= value <= 1e9:
        return False
    if (value := greeks.vega) is not None and not (
        (value >= 0.0 or (value >= -1e9 and value != -1.0 and value != -2.0))
        and value <= 1e9
    ):
        return False
    if (value := greeks.rho) is not None and not -1e9 <= value <= 1e9:
        return False
    if (value := greeks.implied_volatility) is not None and not 1e-9 <= value <= 100.0:
        return False
    if (value := event.price) is not None and not 0.0 <= value <= 1e9:
        return False
    if (value := event.bid) is not None and not 0.0 <= value <= 1e9:
        return False
    return (value := event.ask) is None or 1e-9 <= value <= 1e9


def impossible_fields(event: BrokerGreeks) -> tuple[str, ...]:
    """Return the names of the fields with an impossible value, in a fixed order.

    -1 and -2 are possible for theta, and for delta -1.  But if gamma or vega is such a
    number, or delta is -2, both mean "unset" in all Greeks of the event.
    """
    values = structs.asdict(event.greeks)
    values |= {name: getattr(event, name) for name in _OPTION}
    wrong = [
        name
        for name, allowed in (_GREEKS | _OPTION).items()
        if values[name] is not None and not allowed.has(values[name])
    ]
    is_unset = any(
        values[name] in _NOT_SET for name in wrong if name in ("delta", "gamma", "vega")
    )
    sisters = [name for name in _GREEKS if is_unset and values[name] in _NOT_SET]
    return tuple(name for name in values if name in wrong or name in sisters)


def without_fields(event: BrokerGreeks, names: tuple[str, ...]) -> BrokerGreeks:
    """Return the event with these fields missing."""
    greeks = {name: None for name in names if name in _GREEKS}
    prices = {name: None for name in names if name in _OPTION}
    kept: Greeks = structs.replace(event.greeks, **greeks)
    return structs.replace(event, greeks=kept, **prices)


def possible_price(
    value: float | None, kind: PriceKind, *, beside: float | None = None
) -> float | None:
    """Return the price of an instrument, `None` if it is missing or impossible.

    Args:
        value: In the units of quotation.
        kind: The kind of the instrument.
        beside: The other side of the market, which shows that 0 or -1 of a future is
            a price.
    """
    if value is None or not _PRICES[kind].has(value):
        return None
    if kind != "future" or not _is_doubtful(value):
        return value
    if beside is None or _is_doubtful(beside) or abs(value - beside) > _NEAR:
        return None
    return value


def _is_doubtful(value: float) -> bool:
    """Return whether it may be the price of a future but usually means "unset"."""
    return value == -1.0 or abs(value) < SMALLEST
