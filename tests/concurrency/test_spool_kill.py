"""kill -9 while appending, many times: durable entries stay, and none is in part there."""

from __future__ import annotations

import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
import trio

from greeks_trio.spool.directory import open_spool
from tests.concurrency.spool_child import ROOM
from tests.factories import START, make_tick
from tests.fix_processes import CHECKOUT

KILLS = 20
SEED = 4


async def append_until_killed(directory, lines):
    """Kill a process that appends soon after it has printed so many lines.

    Return the first number of each entry that was printed as durable.
    """
    process = await trio.lowlevel.open_process(
        [
            *(sys.executable, "-m", "tests.concurrency.spool_child"),
            *("append", str(directory)),
        ],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
    )
    said = b""
    async for chunk in process.stdout:
        said += chunk
        if said.count(b"\n") >= lines and process.poll() is None:
            process.kill()
    await process.wait()
    complete = said[: said.rindex(b"\n")].split(b"\n")
    return dict(map(int, line.split()) for line in complete)


def number_of(tick):
    return round((tick.record.event_time - START).total_seconds())


def is_whole(entry):
    first = number_of(entry.ticks[0])
    return list(entry.ticks) == [make_tick(first + n) for n in range(1 + first % 3)]


@pytest.mark.timeout(240)
async def test_nothing_durable_is_lost_by_any_of_twenty_kills(tmp_path):
    chance = random.Random(SEED)
    newest_id = 0
    for _ in range(KILLS):
        durable = await append_until_killed(tmp_path, chance.randrange(1, 40))

        async with open_spool(tmp_path, max_bytes=ROOM) as opened:
            assert opened.killed_at > datetime.now(UTC) - timedelta(minutes=1)
            entries = await opened.spool.read(upto=opened.inherited_id, max_rows=10**6)
            assert opened.spool.pop_dropped() == []
            await opened.spool.release([entry.id for entry in entries])

        found = {entry.id: entry for entry in entries}
        assert min(durable) > newest_id
        for entry_id, number in durable.items():
            # The child has released it.
            if entry_id % 4 == 1 and entry_id <= max(durable) - 3:
                continue
            assert number_of(found[entry_id].ticks[0]) == number
        assert all(map(is_whole, entries))
        newest_id = max(found)
    assert not list(tmp_path.glob("*damaged*"))
