"""Frames as the brokers send them, each with other numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from greeks_trio.brokers.tastytrade.wire.requests import EVENT_FIELDS
from tests.factories import START_MS

CONTRACTS = 200
CHANNEL = 1
COLUMNS = EVENT_FIELDS["Greeks"]

# The server announces the columns before the first event.
FEED_CONFIG = json.dumps(
    {
        "type": "FEED_CONFIG",
        "channel": CHANNEL,
        "aggregationPeriod": 0.1,
        "dataFormat": "COMPACT",
        "eventFields": {"Greeks": COLUMNS},
    },
    separators=(",", ":"),
)


@dataclass
class Kind:
    """One kind of frames.

    Attributes:
        name: Its name in the table.
        broker: Whose frames they are.
        ticks: Greeks in a frame.
        make: Makes the frame of a number.
    """

    name: str
    broker: str
    ticks: int
    make: Callable[[int, Random], str]

    def frames(self, number: int) -> list[str]:
        """Return so many frames, always the same ones."""
        chance = Random(1)
        return [self.make(each, chance) for each in range(number)]


def _quote_head(number: int) -> dict[str, object]:
    conid = 700_000_000 + number % CONTRACTS
    return {
        "server_id": f"q{number % CONTRACTS}",
        "conidEx": str(conid),
        "conid": conid,
        "_updated": START_MS + number,
        "6119": f"q{number % CONTRACTS}",
        "topic": f"smd+{conid}",
    }


def _whole_quote(number: int, chance: Random) -> str:
    price = 5 + chance.random()
    return _compact(
        _quote_head(number)
        | {
            "6509": "RpB",
            "31": f"{price:.2f}",
            "84": f"{price - 0.05:.2f}",
            "86": f"{price + 0.05:.2f}",
            "7308": f"{chance.random():.3f}",
            "7309": f"{chance.random() / 10:.3f}",
            "7310": f"{-chance.random():.3f}",
            "7311": f"{chance.random():.3f}",
            "7633": f"{10 + 20 * chance.random():.1f}%",
        }
    )


def _changed_quote(number: int, chance: Random) -> str:
    return _compact(
        _quote_head(number)
        | {"7308": f"{chance.random():.3f}", "7311": f"{chance.random():.3f}"}
    )


def _greeks(number: int, chance: Random) -> list[object]:
    values = {
        "eventSymbol": f".SPY261218C{number % CONTRACTS}",
        "eventTime": 0,
        "eventFlags": 0,
        "index": (START_MS + number) << 22,
        "time": START_MS + number,
        "sequence": number % 1000,
        "price": round(12 * chance.random(), 4),
        "volatility": round(chance.random(), 6),
        "delta": round(chance.random(), 8),
        "gamma": round(chance.random(), 8),
        "theta": round(-chance.random(), 8),
        "rho": round(chance.random(), 8),
        "vega": round(chance.random(), 8),
    }
    return [values[name] for name in COLUMNS]


def _feed_data(events: int) -> Callable[[int, Random], str]:
    def make(number: int, chance: Random) -> str:
        rows = [
            value
            for event in range(events)
            for value in _greeks(number * events + event, chance)
        ]
        return _compact(
            {"type": "FEED_DATA", "channel": CHANNEL, "data": ["Greeks", rows]}
        )

    return make


def _compact(message: dict[str, object]) -> str:
    return json.dumps(message, separators=(",", ":"))


KINDS = (
    Kind("IBKR, all fields", "ibkr", 1, _whole_quote),
    Kind("IBKR, two changed fields", "ibkr", 1, _changed_quote),
    Kind("DXLink, 1 event", "tastytrade", 1, _feed_data(1)),
    Kind("DXLink, 20 events", "tastytrade", 20, _feed_data(20)),
)
