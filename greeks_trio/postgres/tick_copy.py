"""Store ticks by one binary COPY."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import psycopg
import trio
from psycopg.abc import Buffer
from psycopg.copy import AsyncLibpqWriter
from psycopg.rows import TupleRow

from greeks_trio.model.records import Tick
from greeks_trio.postgres.connection import TrioConnection
from greeks_trio.postgres.tick_rows import COLUMNS_TEXT, COPY_TICKS, TYPES, tick_row

# Then other tasks run: a fresh tick needs several turns until it is stored.
_ROWS_IN_A_TURN: Final = 250


async def copy_ticks(
    connection: TrioConnection[TupleRow], ticks: Sequence[Tick]
) -> list[Buffer]:
    """Store the ticks, and return the bytes that were sent, with `COLUMNS_TEXT` before them.

    Raises:
        psycopg.Error: they are not stored.
    """
    async with connection.cursor() as cursor:
        writer = _KeepingWriter(cursor)
        async with cursor.copy(COPY_TICKS, writer=writer) as copy:
            copy.set_types(TYPES)
            # As `copy.write_row` does, without a coroutine for each row.
            format_row = copy.formatter.write_row
            for start in range(0, len(ticks), _ROWS_IN_A_TURN):
                if start:
                    await trio.lowlevel.checkpoint()
                for tick in ticks[start : start + _ROWS_IN_A_TURN]:
                    if block := format_row(tick_row(tick)):
                        await writer.write(block)
    return writer.blocks


class _KeepingWriter(AsyncLibpqWriter):
    """Sends the data of a COPY, and keeps it."""

    def __init__(self, cursor: psycopg.AsyncCursor[Any]) -> None:
        super().__init__(cursor)
        self.blocks: list[Buffer] = [COLUMNS_TEXT]

    async def write(self, data: Buffer) -> None:
        # psycopg begins a new buffer for each block, so this one stays as it is.
        self.blocks.append(data)
        await super().write(data)
