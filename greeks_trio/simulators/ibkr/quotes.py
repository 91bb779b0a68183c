"""Market data in the format of the gateway's frames.

Values are texts in IBKR's formats: prices to the cent, Greeks to three decimals,
implied volatility with a percent sign, sizes with commas or K and M.  All random
numbers come from the generator in the arguments.

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
from greeks_trio.simulators.ibkr.listing import listing_of
from greeks_trio.simulators.market import Market, SimulatedOption, Underlying

# A contract has this row before its first data; an unknown contract always has it.
COLD_ROW: Final[Values] = {"55": "-", "31": "N/A"}
# Live, delayed, frozen or not subscribed: the first letter of field 6509.
Grade = Literal["R", "D", "Z", "N"]
_CODES: Final[dict[Grade, tuple[str, ...]]] = {
    "R": ("RpB", "RB", "RPB", "RpBd", "R"),
    "D": ("DPB", "DpB", "DB"),
    "Z": ("ZB", "Z", "ZBd"),
    "N": ("NpB", "N"),
}

_SERVICES: Final = "&serviceID1=122&serviceID2=123&serviceID3=203&serviceID4=775"
# A request for the first field brings the second one too.
_COMPANIONS: Final = {"87": "87_raw"}
# When no Greek changed, the first requested one of these changes by one unit.
# The volatility comes last: such a change would need another price.
_NUDGES: Final = (
    (DELTA, 0.001, "{:.3f}"),
    (THETA, 0.001, "{:.3f}"),
    (VEGA, 0.001, "{:.3f}"),
    (GAMMA, 0.001, "{:.3f}"),
    (IMPLIED_VOLATILITY, 0.1, "{:.1f}%"),
)
# Sent for "unset": the largest numbers of C, C++ and Java, and small ones where no
# Greek can be so small.
_LARGEST: Final = ("1.7976931348623157E308", "2147483647", "9223372036854775807")
UNSET_GREEKS: Final = {
    DELTA: (*_LARGEST, "-2"),
    GAMMA: (*_LARGEST, "-1"),
    THETA: _LARGEST,
    VEGA: (*_LARGEST, "-1"),
    IMPLIED_VOLATILITY: (*_LARGEST, "-1"),
}
_UNSET_PRICES: Final = ("-1", "-1.00", "0", "1.7976931348623157E308", "2147483647")
_encode = msgspec.json.Encoder().encode


class Sent:
    """The values of one contract sent on one connection, and a reader's memory."""

    def __init__(self) -> None:
        self.values: Values = {}
        self.reader = ReaderMemory()


class Line:
    """One subscription: its requested fields, and the values sent so far.

    Attributes:
        key: The contract as the client wrote it, ``265598`` or ``265598@SMART``.
        fields: The requested fields, and the fields that the gateway adds to them.
        ends_at: When its data stop, on the monotonic clock.
        sent: The last value of each field; a frame has only values that differ from it.
            All subscriptions of the connection to the contract share it, until the
            client unsubscribes.
        reader: The values that a reader of the frames knows.
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
        """Add fields to those that are sent."""
        companions = {_COMPANIONS[field] for field in fields if field in _COMPANIONS}
        self.fields |= fields | companions | {"6509"}

    @property
    def has_greeks(self) -> bool:
        """Whether a Greek that can be stored is requested."""
        return not STORABLE_FIELDS.isdisjoint(self.fields)

    def take_asked(self, values: Values) -> Values:
        """Return the requested values, and remember them as sent."""
        asked = {name: text for name, text in values.items() if name in self.fields}
        self.sent.update(asked)
        return asked

    def take_changed(self, values: Values) -> Values:
        """Return the requested values that changed, and remember them as sent."""
        sent, fields = self.sent, self.fields
        changed = {
            name: text
            for name, text in values.items()
            if name in fields and sent.get(name) != text
        }
        sent.update(changed)
        return changed

    def first_frames(self, values: Values, updated_ms: int) -> list[bytes]:
        """Return two frames with the same values in a different order of keys."""
        envelope = {**self._envelope, "_updated": updated_ms}
        return [_encode({**values, **envelope}), _encode({**envelope, **values})]

    def delta_frame(self, changed: Values, updated_ms: int, random: Random) -> bytes:
        """Return one frame of changed values, with its keys in a random order."""
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
    """Return the model's Greeks in the format of the gateway."""
    return {
        DELTA: f"{greeks.delta:.3f}",
        GAMMA: f"{greeks.gamma:.3f}",
        THETA: f"{greeks.theta:.3f}",
        VEGA: f"{greeks.vega:.3f}",
        IMPLIED_VOLATILITY: f"{(greeks.implied_volatility or 0.0) * 100:.1f}%",
    }


def nudge(line: Line, values: Values, random: Random) -> Values:
    """Return the values with one requested Greek changed by one unit of its last digit.

    A frame is a tick only if a Greek changed.  A change in the market model may be too
    small for three decimals.
    """
    for name, unit, layout in _NUDGES:
        if name in line.fields:
            number = float(str(values[name]).rstrip("%"))
            sign = 1 if random.random() < 0.5 or number <= unit else -1
            if name == DELTA and number >= 1.0:
                sign = -1
            return values | {name: layout.format(number + sign * unit)}
    return values


def nudge_mark(option: SimulatedOption, quote: Values) -> Values:
    """Return the quote with another mark price, until the next tick."""
    decimals = listing_of(option).decimals
    price = float(str(quote["7635"])) + 10.0**-decimals
    return quote | {"7635": f"{price:.{decimals}f}"}


def option_prices(market: Market, option: SimulatedOption, greeks: Greeks) -> Values:
    """Return an option's market and mark price for the present price of its underlying.

    The gateway works out the Greeks and these prices together.
    """
    decimals = listing_of(option).decimals
    smallest = 10.0**-decimals
    price = max(market.price(option, greeks), 2.0 * smallest)
    half_spread = max(smallest, price * 0.004)
    return {
        "84": f"{max(price - half_spread, smallest):.{decimals}f}",
        "86": f"{price + half_spread:.{decimals}f}",
        "7635": f"{price:.{decimals}f}",
    }


def option_quote(
    market: Market, option: SimulatedOption, greeks: Greeks, random: Random
) -> Values:
    """Return an option's prices and sizes for the present price of its underlying."""
    listing = listing_of(option)
    prices = option_prices(market, option, greeks)
    volume = float(int(random.random() * 400) * 100)
    quote: Values = prices | {
        "31": prices["7635"],
        "88": f"{1 + int(random.random() * 4000):,}",
        "85": f"{1 + int(random.random() * 400):,}",
        "7059": str(1 + int(random.random() * 20)),
        "87": _abbreviate(volume),
        "87_raw": volume,
        "55": listing.ticker,
        "6070": listing.asset_class,
        "6457": int(option.underlying.conid),
    }
    if option.conid % 2:  # about half of the contracts have no open interest
        quote["7638"] = _abbreviate(10.0 + option.conid % 9000)
    return quote


def option_values(market: Market, option: SimulatedOption, random: Random) -> Values:
    """Return all values of an option: prices, sizes, Greeks."""
    greeks = market.greeks(option)
    return option_quote(market, option, greeks, random) | greek_values(greeks)


def availability(grade: Grade, random: Random) -> Values:
    """Return the field for this grade, with a random one of its codes."""
    return {"6509": random.choice(_CODES[grade])}


def blank(line: Line, values: Values, random: Random) -> Values:
    """Return the values without one of the Greeks, or without any."""
    asked = [name for name in sorted(GREEK_FIELDS) if name in line.fields]
    lost = asked if random.random() < 0.1 else [random.choice(asked)]
    return values | dict.fromkeys(lost, random.choice(BLANKS))


def underlying_quote(
    underlying: Underlying, random: Random, *, unset_share: float = 0.0
) -> Values:
    """Return an underlying's prices; the last price may show a trading halt.

    In ``unset_share`` of all cases one of them means "unset".
    """
    listing, price = listing_of(underlying), underlying.price
    digits = f".{listing.decimals}f"
    tick = 10.0**-listing.decimals
    identity: Values = {"55": listing.ticker, "6070": listing.asset_class}
    mark: Values = {"7635": format(price, digits)}
    if listing.prices != "all":
        return identity | (mark if listing.prices == "mark" else {})
    halted = "H" if random.random() < 0.01 else ""
    volume = 1e6 + int(random.random() * 400) * 1e5
    quote: Values = {
        "31": f"{halted}{format(price, digits)}",
        "84": format(price - tick, digits),
        "86": format(price + tick, digits),
        "88": f"{100 * (1 + int(random.random() * 90)):,}",
        "85": f"{100 * (1 + int(random.random() * 90)):,}",
        "83": round(random.gauss(0.3, 0.02), 2),
        "87": _abbreviate(volume),
        "87_raw": _java_number(volume),
    }
    if unset_share and random.random() < unset_share:
        quote[random.choice(("31", "84", "86"))] = random.choice(_UNSET_PRICES)
    return quote | mark | identity


def close_quote(underlying: Underlying) -> Values:
    """Return the first values of a quiet contract: the last close, and no change."""
    listing = listing_of(underlying)
    if listing.prices != "all":
        return {}
    return {"31": f"C{underlying.price:.{listing.decimals}f}", "83": 0}


def unset(line: Line, values: Values, random: Random) -> Values:
    """Return the values with a number that means "unset" in place of one Greek.

    It is a large one if another Greek really is -1 or -2: a reader cannot tell these from
    the same number that means "unset".
    """
    asked = [name for name in sorted(GREEK_FIELDS) if name in line.fields]
    lost = random.choice(asked)
    texts = (str(values[name]) for name in asked if name in values)
    real = {float(each.rstrip("%")) for each in texts if each not in BLANKS}
    numbers = UNSET_GREEKS[lost] if real.isdisjoint((-1.0, -2.0)) else _LARGEST
    return values | {lost: random.choice(numbers)}


def _java_number(number: float) -> float | msgspec.Raw:
    """Return the number in the gateway's format: with an exponent from ten million."""
    if number < 1e7:
        return number
    mantissa, _, exponent = f"{number:.6E}".partition("E")
    return msgspec.Raw(f"{float(mantissa)}E{int(exponent)}".encode())


def _abbreviate(number: float) -> str:
    if number >= 1e6:
        return f"{number / 1e6:.1f}M"
    return f"{number / 1e3:.1f}K" if number >= 1e4 else f"{int(number):,}"
