"""Archive files: Parquet with zstd, written and read in pieces of bounded memory.

Everything here blocks, so callers run it in a worker thread.  pyarrow is imported with this
module; `greeks_trio.archive.parquet` says how to install it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from greeks_trio.archive.columns import COLUMNS, Kind
from greeks_trio.archive.names import METADATA_KEY, FileFacts, decode_facts
from greeks_trio.errors import ArchiveFailed

# One row group: some 60 MB while it is written.
GROUP_ROWS: Final = 65_536
GROUP_BYTES: Final = 32 * 1024**2

_TYPES: Final[dict[Kind, Any]] = {
    "integer": pa.int64(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "text": pa.string(),
    "date": pa.date32(),
    "decimal": pa.decimal128(38, 12),
    "double": pa.float64(),
    "boolean": pa.bool_(),
}
_NAMES: Final = [each.name for each in COLUMNS]
# Values that come again and again are stored once.
_REPEATED: Final = [
    each.name
    for each in COLUMNS
    if each.kind in ("text", "date", "decimal") and each.name != "source_payload"
]
_SCHEMA: Final = pa.schema(
    [
        pa.field(
            each.name,
            _TYPES[each.kind],
            metadata={"unit": each.unit} if each.unit else None,
        )
        for each in COLUMNS
    ]
)
# PostgreSQL writes times in UTC without an offset.
_AS_WRITTEN: Final = pa.schema(
    [
        pa.field(
            each.name,
            pa.timestamp("us") if pa.types.is_timestamp(each.type) else each.type,
        )
        for each in _SCHEMA
    ]
)


class FileWriter:
    """Writes one archive file; made by `new_file`."""

    def __init__(self, stream: Any) -> None:  # noqa: ANN401 - a stream of pyarrow
        self._writer = pq.ParquetWriter(
            stream,
            _SCHEMA,
            compression="zstd",
            use_dictionary=_REPEATED,
            sorting_columns=None,
        )

    def write(self, lines: Sequence[bytes]) -> None:
        """Write a row group of lines of CSV.

        Raises:
            ArchiveFailed: the file cannot hold a value.
        """
        self._writer.write_table(_table(b"".join(lines)), row_group_size=GROUP_ROWS)

    def give_up(self) -> None:
        """End without an end of the file; nothing happens after `finish`."""
        if self._writer.is_open:
            with suppress(OSError, ValueError, pa.ArrowException):
                self._writer.close()
            self._writer.is_open = False  # otherwise its finalizer tries again

    def finish(self, facts: FileFacts) -> None:
        """Write the facts about the file, and its end."""
        self._writer.add_key_value_metadata({METADATA_KEY: msgspec.json.encode(facts)})
        self._writer.close()


@contextmanager
def new_file(path: Path) -> Iterator[FileWriter]:
    """Make a file, and have it durable on disk at the end of the block.

    No other user can read it.  A file of this name must not exist.  Without an end, the file
    is removed.

    Raises:
        ArchiveFailed: the disk does not take it.
    """
    with _of_disk(path):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        fileno = os.open(path, flags, 0o600)
        is_whole = False
        try:
            with os.fdopen(fileno, "wb") as raw:
                writer = FileWriter(raw)
                try:
                    yield writer
                finally:
                    writer.give_up()
                raw.flush()
                os.fsync(raw.fileno())
            is_whole = True
        finally:
            if not is_whole:
                with suppress(OSError):
                    path.unlink()


def put_in_place(partial: Path, final: Path) -> None:
    """Give a file its final name, durably.

    Raises:
        ArchiveFailed: the disk does not do it.
    """
    with _of_disk(final):
        partial.replace(final)
        directory = os.open(final.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


@contextmanager
def open_file(path: Path) -> Iterator[Any]:
    """Yield pyarrow's reader of an archive file.

    Raises:
        ArchiveFailed: there is no such file, or it is damaged.
    """
    with _of_disk(path):
        fileno = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(fileno, "rb") as raw:
            yield _reader(raw, path)


def read_facts(path: Path) -> FileFacts:
    """Return the facts in the metadata of a file.

    Raises:
        ArchiveFailed: there is no such file, it is damaged, or no archive file.
    """
    with open_file(path) as reader:
        return decode_facts(
            (reader.metadata.metadata or {}).get(METADATA_KEY), path.name
        )


def group_lines(reader: Any, group: int, path: Path) -> bytes:  # noqa: ANN401 - of pyarrow
    """Return a row group of the file as CSV.

    Raises:
        ArchiveFailed: the file is damaged.
    """
    try:
        table = reader.read_row_group(group).select(_NAMES)
    except (pa.ArrowException, KeyError, OSError) as exc:
        raise ArchiveFailed(f"{path} is damaged in row group {group}: {exc}") from exc
    out = pa.BufferOutputStream()
    options = pa_csv.WriteOptions(include_header=False, quoting_style="needed")
    pa_csv.write_csv(table, out, write_options=options)
    return out.getvalue().to_pybytes()  # type: ignore[no-any-return]


def _table(lines: bytes) -> Any:  # noqa: ANN401 - of pyarrow
    try:
        table = pa_csv.read_csv(
            pa.BufferReader(lines),
            read_options=pa_csv.ReadOptions(
                column_names=_NAMES, block_size=max(1, len(lines)), use_threads=False
            ),
            parse_options=pa_csv.ParseOptions(newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(
                column_types=_AS_WRITTEN,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                true_values=["t"],
                false_values=["f"],
            ),
        )
    except pa.ArrowException as exc:
        raise ArchiveFailed(
            f"Parquet cannot hold a value of these rows: {exc}"
        ) from exc
    return table.cast(_SCHEMA)


def _reader(raw: Any, path: Path) -> Any:  # noqa: ANN401 - of pyarrow
    try:
        return pq.ParquetFile(raw)
    except (pa.ArrowException, OSError) as exc:
        raise ArchiveFailed(f"{path} is damaged or no Parquet file: {exc}") from exc


@contextmanager
def _of_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise ArchiveFailed(
            f"{path} cannot be written or read: {exc.strerror or exc}"
        ) from exc
