"""The ticks that the benchmarks of the database write."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta

from greeks_trio.model.records import Tick
from tests.factories import START, make_tick

PAYLOAD = (
    b'{"topic":"smd+265598","conid":265598,"_updated":1795188600123,"7308":"0.512",'
    b'"7309":"0.01234","7310":"-0.2345","7311":"0.9876","7633":"31.4%","6509":"RpB",'
    b'"31":"668.25","84":"668.20","86":"668.30"}'
)


def make_batches(rows: int, size: int) -> Sequence[Sequence[Tick]]:
    """Return ticks of 200 contracts, in batches."""
    ticks = [
        make_tick(
            contract_key=f"SPY   261218C{number % 200:08d}",
            event_time=START + timedelta(milliseconds=number),
            delta=random.random(),
            gamma=random.random(),
            theta=-random.random(),
            source_payload=PAYLOAD,
        )
        for number in range(rows)
    ]
    return [ticks[start : start + size] for start in range(0, rows, size)]
