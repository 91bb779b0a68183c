"""What the simulated gateway's market data looks like on the wire.

Values are texts in IBKR's formats: prices to the cent, Greeks to three decimals,
implied volatility in percent with its sign, sizes with commas or K and M.  Everything
random comes from the generator that is passed in.

Source: IBKR Client Portal API, "Market Data Fields".
"""

from __future__ import annotations

from random import Random
from typing import Final, Literal

import msgspec

from greeks_trio.model.records import Greeks
from greeks_trio.simulators.ibkr.client_memory import (
    BLANKS,
    DELTA,
    GAMMA,
    GREEK_FIELDS,
    IMPLIED_VOLATILITY,
    STORABLE_FIELDS,
    THETA,
    VEGA,
    ReaderMemory,
    Values,
)
from greeks_trio.simulators.market import Market, SimulatedOption, Underlying

# What a contract that has not warmed up shows, and one that does not exist for ever.
COLD_ROW: Final[Values] = {"55": "-", "31": "N/A"}
# How good the data are; only the first letter counts for a reader.
Grade = Literal["R", "D", "Z", "N"]
_CODES: Final[dict[Grade, tuple[str, ...]]] = {
    "R": ("RpB", "RB", "RPB", "RpBd", "R"),
    "D": ("DPB", "DpB", "DB"),
    "Z": ("ZB", "Z", "ZBd"),
    "N": ("NpB", "N"),
}

_SERVICES: Final = "&serviceID1=122&serviceID2=123&serviceID3=203&serviceID4=775"
# Sent without having been asked for, when the other one was.
_COMPANIONS: Final = {"87": "87_raw"}
# In this order, one of them is moved by its last digit when the model stood still.
_NUDGES: Final = (
    (IMPLIED_VOLATILITY, 0.1, "{:.1f}%"),
    (THETA, 0.001, "{:.3f}"),
    (VEGA, 0.001, "{:.3f}"),
    (DELTA, 0.001, "{:.3f}"),
    (GAMMA, 0.001, "{:.3f}"),
)
_encode = msgspec.json.Encoder().encode


class Sent:
    """What one connection was sent of one contract, and what a reader knows of it."""

    def __init__(self) -> None:
        self.values: Values = {}
        self.reader = ReaderMemory()


class Line:
    """One subscription: what was asked for, and what was sent so far.

    Attributes:
        key: The contract as the client wrote it, ``265598`` or ``265598@SMART``.
        fields: The fields that go out, with what comes along unasked.
        ends_at: When it falls silent, on the monotonic clock.
        sent: The last value of each field, which deltas are made against.  It belongs
            to the connection: a reader remembers it until it unsubscribes.
        reader: What a reader makes of it.
    """

    def __init__(
        self, key: str, conid: int, fields: set[str], sent: Sent, *, number: int
    ) -> None:
        self.key = key
        self.conid = conid
        self.fields: set[str] = set()
        self.ask(fields)
        self.ends_at = 0.0
        self.is_closed = False
        self.sent = sent.values
        self.reader = sent.reader
        self._has_services = False
        self._envelope: Values = {
            "server_id": f"q{number}",
            "conidEx": key,
            "conid": conid,
            "6119": f"q{number}",
            "topic": f"smd+{key}",
        }

    def ask(self, fields: set[str]) -> None:
        """Add fields to those that go out."""
        companions = {_COMPANIONS[field] for field in fields if field in _COMPANIONS}
        self.fields |= fields | companions | {"6509"}

    @property
    def has_greeks(self) -> bool:
        """Whether a Greek that can be stored was asked for."""
        return not STORABLE_FIELDS.isdisjoint(self.fields)

    def take_asked(self, values: Values) -> Values:
        """Return the values that were asked for, and remember them as sent."""
        asked = {name: text for name, text in values.items() if name in self.fields}
        self.sent.update(asked)
        return asked

    def take_changed(self, values: Values) -> Values:
        """Return the values that were asked for and differ from what was sent."""
        sent, fields = self.sent, self.fields
        changed = {
            name: text
            for name, text in values.items()
            if name in fields and sent.get(name) != text
        }
        sent.update(changed)
        return changed

    def first_frames(self, values: Values, updated_ms: int) -> list[bytes]:
        """Return the two frames that answer a request: the same, in another order."""
        envelope = {**self._envelope, "_updated": updated_ms}
        return [_encode({**values, **envelope}), _encode({**envelope, **values})]

    def delta_frame(self, changed: Values, updated_ms: int, random: Random) -> bytes:
        """Return one frame of changed values, its keys in some order."""
        updated: Values = {"_updated": updated_ms}
        if not self._has_services:
            self._has_services = True
            updated["6508"] = _SERVICES
        match int(random.random() * 4):
            case 0:
                frame = self._envelope | updated | changed
            case 1:
                frame = changed | self._envelope | updated
            case 2:
                frame = updated | changed | self._envelope
            case _:
                frame = dict(reversed(changed.items())) | updated | self._envelope
        return _encode(frame)


def greek_values(greeks: Greeks) -> Values:
    """Return the model's Greeks as the gateway writes them."""
    return {
        DELTA: f"{greeks.delta:.3f}",
        GAMMA: f"{greeks.gamma:.3f}",
        THETA: f"{greeks.theta:.3f}",
        VEGA: f"{greeks.vega:.3f}",
        IMPLIED_VOLATILITY: f"{(greeks.implied_volatility or 0.0) * 100:.1f}%",
    }


def nudge(line: Line, values: Values, random: Random) -> Values:
    """Return the values with one asked Greek moved by one unit of its last digit.

    A frame is a tick only if a Greek changed, and the market model may move less than
    three decimals show.
    """
    for name, unit, layout in _NUDGES:
        if name in line.fields:
            number = float(str(values[name]).rstrip("%"))
            sign = 1 if random.random() < 0.5 or number <= unit else -1
            return values | {name: layout.format(number + sign * unit)}
    return values


def option_quote(
    market: Market, option: SimulatedOption, greeks: Greeks, random: Random
) -> Values:
    """Return an option's prices and sizes at the present price of its underlying."""
    price = max(market.price(option, greeks), 0.02)
    half_spread = max(0.01, price * 0.004)
    volume = float(int(random.random() * 400) * 100)
    quote: Values = {
        "31": f"{price:.2f}",
        "84": f"{max(price - half_spread, 0.01):.2f}",
        "86": f"{price + half_spread:.2f}",
        "88": f"{1 + int(random.random() * 4000):,}",
        "85": f"{1 + int(random.random() * 400):,}",
        "7059": str(1 + int(random.random() * 20)),
        "7635": f"{price:.2f}",
        "87": _abbreviate(volume),
        "87_raw": volume,
        "55": option.underlying.symbol.replace("/", " "),
        "6070": "OPT",
        "6457": int(option.underlying.conid),
    }
    if option.conid % 2:  # open interest is missing on about half of the contracts
        quote["7638"] = _abbreviate(10.0 + option.conid % 9000)
    return quote


def option_values(market: Market, option: SimulatedOption, random: Random) -> Values:
    """Return everything that is known of an option: prices, sizes, Greeks."""
    greeks = market.greeks(option)
    return option_quote(market, option, greeks, random) | greek_values(greeks)


def availability(grade: Grade, random: Random) -> Values:
    """Return the field that says how good the data are, in some spelling."""
    return {"6509": random.choice(_CODES[grade])}


def blank(line: Line, values: Values, random: Random) -> Values:
    """Return the values without one of the Greeks, or without any."""
    asked = [name for name in sorted(GREEK_FIELDS) if name in line.fields]
    lost = asked if random.random() < 0.1 else [random.choice(asked)]
    return values | dict.fromkeys(lost, random.choice(BLANKS))


def underlying_quote(underlying: Underlying, random: Random) -> Values:
    """Return an underlying's prices; the last one may say that trading is halted."""
    price = underlying.price
    halted = "H" if random.random() < 0.01 else ""
    volume = 1e6 + int(random.random() * 400) * 1e5
    return {
        "31": f"{halted}{price:.2f}",
        "84": f"{price - 0.01:.2f}",
        "86": f"{price + 0.01:.2f}",
        "88": f"{100 * (1 + int(random.random() * 90)):,}",
        "85": f"{100 * (1 + int(random.random() * 90)):,}",
        "83": round(random.gauss(0.3, 0.02), 2),
        "87": _abbreviate(volume),
        "87_raw": _java_number(volume),
        "55": underlying.symbol.replace("/", " "),
        "6070": "IND" if underlying.symbol == "SPX" else "STK",
    }


def _java_number(number: float) -> float | msgspec.Raw:
    """Return the number as the gateway writes it: with an exponent from ten million."""
    if number < 1e7:
        return number
    mantissa, _, exponent = f"{number:.6E}".partition("E")
    return msgspec.Raw(f"{float(mantissa)}E{int(exponent)}".encode())


def _abbreviate(number: float) -> str:
    if number >= 1e6:
        return f"{number / 1e6:.1f}M"
    return f"{number / 1e3:.1f}K" if number >= 1e4 else f"{int(number):,}"
