"""The ticks that the benchmarks of the database write."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta

from greeks_trio.model.records import Tick, UnifiedPositionRecord
from tests.factories import START, make_record, make_tick

PAYLOAD = (
    b'{"topic":"smd+265598","conid":265598,"_updated":1795188600123,"7308":"0.512",'
    b'"7309":"0.01234","7310":"-0.2345","7311":"0.9876","7633":"31.4%","6509":"RpB",'
    b'"31":"668.25","84":"668.20","86":"668.30"}'
)


def _changes(number: int, chance: random.Random) -> dict[str, object]:
    """Return the values of a tick; ``number`` of them have another time each."""
    return {
        "contract_key": f"SPY   261218C{number % 200:08d}",
        "event_time": START + timedelta(milliseconds=number),
        "delta": chance.random(),
        "gamma": chance.random(),
        "theta": -chance.random(),
        "source_payload": PAYLOAD,
    }


def make_records(rows: int, seed: int = 1) -> list[UnifiedPositionRecord]:
    """Return records of 200 contracts, one each millisecond."""
    chance = random.Random(seed)
    return [make_record(**_changes(number, chance)) for number in range(rows)]


def make_batches(rows: int, size: int) -> Sequence[Sequence[Tick]]:
    """Return ticks of 200 contracts, in batches."""
    chance = random.Random(1)
    ticks = [make_tick(**_changes(number, chance)) for number in range(rows)]
    return [ticks[start : start + size] for start in range(0, rows, size)]
