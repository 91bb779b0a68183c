"""The spool's directory on a real disk: what is written is there after the next open."""

from __future__ import annotations

from greeks_trio.spool.directory import open_spool
from tests.factories import make_tick

ROOM = 2**30


async def test_what_was_appended_is_there_at_the_next_open(tmp_path):
    ticks = [make_tick(n) for n in range(3)]
    async with open_spool(tmp_path / "spool", max_bytes=ROOM) as opened:
        entry_id = await opened.spool.append(ticks)

    async with open_spool(tmp_path / "spool", max_bytes=ROOM) as opened:
        [entry] = await opened.spool.read(upto=opened.inherited_id, max_rows=10)

    assert opened.inherited_id == entry.id == entry_id
    assert list(entry.ticks) == ticks
