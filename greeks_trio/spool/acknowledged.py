"""The log of acknowledged rows: the commits of the last minute.

A COMMIT is a promise of one server.  A backup that is restored, or a standby that becomes
the server, may lack rows that were acknowledged.  This log still has them, so they can be
found missing and offered again: `greeks_trio.spool.offer_again` and the command ``verify``.

Rows are kept at their commit, most as the data of their COPY, and written each second or
megabyte, without fsync: only a kill of this machine together with the loss of the database
loses them.  The log is a few files ``acknowledged.<number>``.  The oldest are deleted once all
their rows were acknowledged `keep_s` before the newest row, or when all together are too
large.
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, NoReturn, TypeAlias

import trio

from greeks_trio.config.directories import open_own_file
from greeks_trio.errors import SpoolUnavailable
from greeks_trio.model.records import Tick
from greeks_trio.pipeline.stores import JournalEntry
from greeks_trio.spool.copied_rows import decode_rows
from greeks_trio.spool.format import (
    decode_journal_entry,
    decode_ticks,
    encode_journal_entry,
    encode_ticks,
    from_microseconds,
    to_microseconds,
    verified,
)
from greeks_trio.spool.worker import DiskWorker
from greeks_trio.waiting import WakeUp

logger = logging.getLogger(__name__)

_PATTERN: Final = "acknowledged.*"
_WRITE_INTERVAL_S: Final = 1.0
# More at once would hold Python's lock for milliseconds.
_WRITE_BYTES: Final = 2**20
# The end of the service waits so long for the last write.
_LAST_WRITE_S: Final = 1.0
_SEGMENTS: Final = 4
# While the disk hangs, more is not kept in memory.
_PENDING_MAX: Final = 32 * 2**20
# So many rows of the newest commit are remembered.
_NEWEST: Final = 100

# Length and checksum of the blob, microseconds since 1970, kind.
_HEADER: Final = struct.Struct(">IIqc")
_TICKS: Final = b"t"
_COPIED: Final = b"c"
_ENTRY: Final = b"j"
_LONGEST: Final = 256 * 2**20


# Bytes that do not change any more.
Buffer: TypeAlias = bytes | bytearray | memoryview


class _Kept(NamedTuple):
    """Rows that are not written yet, as the parts of one blob."""

    moment: int
    kind: bytes
    parts: Sequence[Buffer]

    def record(self) -> bytes:
        """Return the bytes of the file."""
        blob = b"".join(self.parts)
        return _HEADER.pack(len(blob), zlib.crc32(blob), self.moment, self.kind) + blob


class Acknowledged(NamedTuple):
    """The rows of one COMMIT: ticks, or one entry of the journal."""

    at: datetime
    ticks: Sequence[Tick]
    entry: JournalEntry | None


# Returns at most so many of the next commits, none at the end.
ReadSome: TypeAlias = Callable[[int], Awaitable[list[Acknowledged]]]


@dataclass(slots=True)
class _Segment:
    path: Path
    began_at: float
    newest_at: float
    size: int = 0


class AcknowledgedLog:
    """Writes the log of one run; the files of earlier runs stay until they are too old.

    Args:
        directory: The directory of the spool, which this process owns.
        keep_s: How long rows are kept, in seconds; 0 keeps none.
        max_bytes: The bound of all files.

    Attributes:
        newest: Some ticks of the newest commit.
        dropped: Commits that the disk did not take.
        is_held: Whether old files stay: a reader has not seen them yet.
    """

    def __init__(
        self,
        directory: Path,
        *,
        keep_s: float,
        max_bytes: int,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.directory = directory
        self._keep_s = keep_s
        self._max_bytes = max_bytes
        self._now = now
        self.newest: Sequence[Tick] = ()
        self.dropped = 0
        self.is_held = True
        self._pending: list[_Kept] = []
        self._pending_bytes = 0
        # Enough rows wait to be written before the second is over.
        self._much = WakeUp()
        self._segments: list[_Segment] = []
        self._file: BinaryIO | None = None
        self._worker = DiskWorker()

    @property
    def is_on(self) -> bool:
        """Whether rows are kept."""
        return self._keep_s > 0

    def size(self) -> int:
        """Return the size of all files in bytes."""
        return sum(each.size for each in self._segments)

    def committed(self, ticks: Sequence[Tick], rows: Sequence[Buffer] = ()) -> None:
        """Keep the ticks of a commit.

        Args:
            ticks: The ticks, at least one.
            rows: The same as `decode_rows` reads them; none if they were not copied.
        """
        self.newest = ticks[-_NEWEST:]
        if rows:
            self._keep(_COPIED, rows)
        else:
            self._keep(_TICKS, [encode_ticks(ticks, compress=False)])

    def stored(self, entry: JournalEntry) -> None:
        """Keep an entry of the journal that is committed."""
        if self.is_on:
            # Thousands of positions come each minute; to compress them takes 10 ms.
            kind, blob = encode_journal_entry(entry, compress=False)
            self._keep(_ENTRY, [kind.encode(), b"\0", blob])

    async def open(self) -> None:
        """Find the files of earlier runs; without `keep_s`, delete them."""
        await self._worker.run(self._find)

    async def run(self) -> NoReturn:
        """Write the kept rows each second or megabyte until cancelled; then once more."""
        try:
            while True:
                with trio.move_on_after(_WRITE_INTERVAL_S):
                    await self._much.wait()
                await self.write()
        finally:
            with trio.move_on_after(_LAST_WRITE_S, shield=True):
                await self.close()

    async def close(self) -> None:
        """Write the kept rows, and close the file."""
        await self.write()
        await self._worker.run(self._close)

    async def write(self) -> None:
        """Write the rows that were kept since the last call.

        A disk that refuses loses it: the rows are in PostgreSQL.
        """
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        if not pending:
            return
        now = self._now().timestamp()
        try:
            await self._worker.run(lambda: self._append(pending, now))
        except (OSError, SpoolUnavailable) as exc:
            if not self.dropped:
                logger.warning("acknowledged.not_written reason=%s", exc)
            self.dropped += len(pending)

    async def read(self) -> ReadSome:
        """Write the kept rows, and return a function that reads the log so far."""
        # Rows that are kept from now on go to the next file.
        await self.close()
        commits = read_acknowledged(segments_in(self.directory))
        return lambda most: self._worker.run(lambda: list(islice(commits, most)))

    async def newest_written(self) -> Sequence[Tick]:
        """Return some ticks of the newest commit in the files; none if there are none."""
        return await self._worker.run(self._newest_written)

    def _keep(self, kind: bytes, parts: Sequence[Buffer]) -> None:
        if self._pending_bytes > _PENDING_MAX:
            self.dropped += 1
            return
        self._pending.append(_Kept(to_microseconds(self._now()), kind, parts))
        self._pending_bytes += _HEADER.size + sum(map(len, parts))
        if self._pending_bytes >= _WRITE_BYTES:
            self._much.wake()

    # The worker's side.

    def _newest_written(self) -> Sequence[Tick]:
        newest: Sequence[Tick] = ()
        for path in reversed(segments_in(self.directory)):
            for each in read_acknowledged([path]):
                newest = each.ticks or newest
            if newest:
                break
        return newest[-_NEWEST:]

    def _find(self) -> None:
        for path in segments_in(self.directory):
            if not self.is_on:
                path.unlink()
                continue
            found = path.stat()
            self._segments.append(
                _Segment(path, found.st_mtime, found.st_mtime, found.st_size)
            )

    def _append(self, pending: Sequence[_Kept], now: float) -> None:
        data = b"".join(each.record() for each in pending)
        if self._file is None or self._is_over(self._segments[-1], now):
            self._begin(now)
        assert self._file is not None  # noqa: S101
        segment = self._segments[-1]
        self._file.write(data)
        segment.size += len(data)
        segment.newest_at = now
        self._delete_old(now)

    def _is_over(self, segment: _Segment, now: float) -> bool:
        age_s = now - segment.began_at
        is_old = not 0 <= age_s < self._keep_s / _SEGMENTS
        return is_old or segment.size > self._max_bytes / _SEGMENTS

    def _begin(self, now: float) -> None:
        self._close()
        last = self._segments[-1].path.suffix[1:] if self._segments else "0"
        path = self.directory / f"acknowledged.{int(last) + 1:08d}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        self._file = open(open_own_file(path, flags), "wb", buffering=0)  # noqa: SIM115
        self._segments.append(_Segment(path, now, now))

    def _delete_old(self, now: float) -> None:
        while len(self._segments) > 1:
            oldest = self._segments[0]
            is_old = not self.is_held and oldest.newest_at < now - self._keep_s
            if not is_old and self.size() <= self._max_bytes:
                return
            oldest.path.unlink(missing_ok=True)
            del self._segments[0]

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def segments_in(directory: Path) -> list[Path]:
    """Return the files of the log, oldest first."""
    found = (each for each in directory.glob(_PATTERN) if each.suffix[1:].isdecimal())
    return sorted(found, key=lambda each: int(each.suffix[1:]))


def read_acknowledged(paths: Sequence[Path]) -> Iterator[Acknowledged]:
    """Yield the commits of these files of the log, also while they are written.

    A file that is cut or damaged ends at its last whole record.
    """
    for path in paths:
        # The service may delete it meanwhile.
        with suppress(FileNotFoundError), path.open("rb") as file:
            yield from _read(file, path)


def _read(file: BinaryIO, path: Path) -> Iterator[Acknowledged]:
    while len(header := file.read(_HEADER.size)) == _HEADER.size:
        length, check, moment, kind = _HEADER.unpack(header)
        blob = file.read(min(length, _LONGEST))
        try:
            verified(blob, check)
            found = _decoded(from_microseconds(moment), kind, blob)
        except (ValueError, OverflowError) as exc:
            logger.debug("acknowledged.file_ends path=%s reason=%s", path, exc)
            return
        yield found


def _decoded(moment: datetime, kind: bytes, blob: bytes) -> Acknowledged:
    if kind == _TICKS:
        return Acknowledged(moment, decode_ticks(blob), None)
    if kind == _COPIED:
        return Acknowledged(moment, decode_rows(blob), None)
    name, _, rest = blob.partition(b"\0")
    return Acknowledged(moment, (), decode_journal_entry(name.decode("ascii"), rest))
