"""A process for the tests of the spool: ``spool_child.py VERB ...``."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import trio

from greeks_trio.errors import SpoolUnavailable
from greeks_trio.spool.directory import open_spool
from tests.factories import make_tick

ROOM = 2**30


def say(*words):
    print(*words, flush=True)  # noqa: T201


async def append(directory):
    """Append one to three ticks at a time until killed, and print durable entries.

    Every fourth entry is released later, so that pages are used again.
    """
    number = 0
    async with open_spool(Path(directory), max_bytes=ROOM) as opened:
        opened._owner.touch({})
        previous_id = 0
        while True:
            ticks = [make_tick(number + n) for n in range(1 + number % 3)]
            release = [previous_id - 3] if previous_id % 4 == 0 else []
            previous_id = await opened.spool.append(ticks, release=release)
            say(previous_id, number)
            number += len(ticks)


async def fill_disk(directory):
    """Meet a limit on the size of files, print the results, and go on without it."""
    async with open_spool(Path(directory), max_bytes=ROOM) as opened:
        spool, ids, number = opened.spool, [], 0
        noise = b'"%s"' % (b"7" * 3000)
        limit_files(300_000)
        try:
            while True:
                ticks = [make_tick(number, source_payload=noise)]
                ids.append(await spool.append(ticks))
                number += 1
        except SpoolUnavailable as exc:
            say("full:", exc)
        kept = await spool.read(upto=2**62, max_rows=10**6)
        say("kept", len(kept), len(ids), spool.size().entries)
        limit_files(1000)
        try:
            await opened.quarantine.add(ticks[0], sqlstate="23514", reason="check")
        except SpoolUnavailable as exc:
            say("quarantine:", exc)
        limit_files(300_000)
        await spool.release(ids[:10])
        say("released", spool.size().entries - len(ids))
        limit_files(resource.RLIM_INFINITY)
        ids.append(await spool.append(ticks))
        await opened.quarantine.add(ticks[0], sqlstate="23514", reason="check")
        found = await spool.read(upto=2**62, max_rows=10**6)
        say("waiting", opened.quarantine.waiting())
        say("again", [entry.id for entry in found] == ids[10:])


def limit_files(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


VERBS = {"append": append, "fill_disk": fill_disk}

if __name__ == "__main__":
    trio.run(VERBS[sys.argv[1]], *sys.argv[2:])
