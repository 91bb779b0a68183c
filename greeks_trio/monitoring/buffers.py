"""The largest size of all buffers in memory."""

from __future__ import annotations

from typing import Final

from greeks_trio.config.settings import PipelineConfig
from greeks_trio.feeds.hand_over import PIECE_TICKS
from greeks_trio.pipeline.backlog import TICK_BYTES
from greeks_trio.pipeline.journal import USUAL_MAX_BYTES
from greeks_trio.pipeline.replayer import BATCH_ROWS
from greeks_trio.pipeline.spooler import ENTRY_ROWS

# A tick with a payload of the usual size, and the largest piece of a frame.
_ROW_BYTES: Final = TICK_BYTES + 400
_PIECE_BYTES: Final = PIECE_TICKS * _ROW_BYTES


def buffers_max_bytes(pipeline: PipelineConfig) -> int:
    """Return the most that is held in memory between the sockets and the database.

    Exact for the backlog, which is nearly all of it.  The others are computed with
    payloads of the usual size.
    """
    intake = pipeline.intake_frames * _PIECE_BYTES
    # A batch, as ticks and as the bytes of a COPY.
    writer = 2 * pipeline.batch_rows * _ROW_BYTES
    # An entry that has left the backlog, as ticks and as the bytes for the disk.
    spooler = 2 * ENTRY_ROWS * _ROW_BYTES
    # One batch as ticks and as the bytes of a COPY; the next one as ticks and as the
    # bytes from the disk.
    replayer = 4 * max(BATCH_ROWS, ENTRY_ROWS) * _ROW_BYTES
    journal = USUAL_MAX_BYTES
    return pipeline.backlog_max_bytes + intake + writer + spooler + replayer + journal
