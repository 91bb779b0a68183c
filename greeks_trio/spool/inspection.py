"""``check`` for the spool: the directory, the free space and the time of a sync."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import trio

from greeks_trio.config.directories import refuse_foreign_directory
from greeks_trio.config.settings import Config
from greeks_trio.errors import ConfigError
from greeks_trio.model.findings import Finding
from greeks_trio.spool.location import spool_directory
from greeks_trio.spool.lock import look_at

_SUBJECT: Final = "spool"
_SPACE: Final = "space for the spool"
_SYNC: Final = "time of a sync"
_GB: Final = 1e9
# A spool that is opened takes about a megabyte before its first tick.
_LEAST_BYTES: Final = 16 * 1024**2
_SYNCS: Final = 20
_BLOCK: Final = bytes(4096)
# Ticks go to the spool in groups with one sync each, every few milliseconds.
_SLOW_MS: Final = 20.0


async def inspect_spool(config: Config) -> list[Finding]:
    """Return whether the spool can be used, its free space and the time of a sync.

    Nothing stays on the disk: the syncs are those of a file without a name.
    """
    return await trio.to_thread.run_sync(lambda: list(_inspect(config)))


def _inspect(config: Config) -> Iterator[Finding]:
    try:
        directory = spool_directory(config)
        refuse_foreign_directory(directory, setting="GREEKS_SPOOL_DIR")
        use = look_at(directory)
    except ConfigError as exc:
        yield Finding(
            subject=_SUBJECT,
            verdict="failed",
            sentence=exc.problems[0],
            remedy="Choose a directory of your own with GREEKS_SPOOL_DIR.",
        )
        return
    yield Finding(subject=_SUBJECT, verdict="fine", sentence=use)
    there = next(each for each in (directory, *directory.parents) if each.exists())
    try:
        yield _space(there, config.spool.max_bytes)
        yield _sync(there)
    except OSError as exc:
        reason = exc.strerror or str(exc)
        yield Finding(
            subject=_SUBJECT,
            verdict="failed",
            sentence=f"{there} cannot be written: {reason}",
            remedy="Make room on the disk, or choose another GREEKS_SPOOL_DIR.",
        )


def _space(directory: Path, max_bytes: int) -> Finding:
    free = shutil.disk_usage(directory).free
    sentence = f"{free / _GB:.1f} GB are free at {directory}"
    if free >= max_bytes:
        return Finding(subject=_SPACE, verdict="fine", sentence=sentence)
    return Finding(
        subject=_SPACE,
        verdict="failed" if free < _LEAST_BYTES else "warning",
        sentence=f"{sentence}, less than GREEKS_SPOOL_MAX_BYTES ({max_bytes / _GB:.1f} GB)",
        remedy="Make room, or set GREEKS_SPOOL_MAX_BYTES lower: a full disk loses ticks "
        "while the database is away.",
    )


def _sync(directory: Path) -> Finding:
    times = sorted(_sync_times_ms(directory))
    p95 = times[int(0.95 * _SYNCS) - 1]
    sentence = f"95 % of {_SYNCS} syncs at {directory} took at most {p95:.1f} ms"
    if p95 <= _SLOW_MS:
        return Finding(subject=_SYNC, verdict="fine", sentence=sentence)
    return Finding(
        subject=_SYNC,
        verdict="warning",
        sentence=f"{sentence}, and more than {_SLOW_MS:g} ms delay the ticks",
        remedy="Choose a faster disk with GREEKS_SPOOL_DIR.",
    )


def _sync_times_ms(directory: Path) -> Iterator[float]:
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        for _ in range(_SYNCS):
            started_at = time.perf_counter()
            file.write(_BLOCK)
            os.fsync(file.fileno())
            yield 1e3 * (time.perf_counter() - started_at)
