"""Retention while the service runs: once a day, in a process of its own.

The process has the lowest priority and its own memory, so the event loop and the way of the
ticks stay as they are.  It is ``bin/run-ingest archive --run`` with the settings of the
service.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import trio

from greeks_trio.archive.parquet import need_pyarrow
from greeks_trio.config.directories import make_own_directory
from greeks_trio.config.load import child_environment
from greeks_trio.config.settings import Config, RetentionConfig
from greeks_trio.errors import ConfigError
from greeks_trio.foreign_text import clean
from greeks_trio.model.condition_kinds import ConditionKind
from greeks_trio.pipeline.conditions import Conditions

logger = logging.getLogger(__name__)

_FIRST_AFTER_S: Final = 300.0
_INTERVAL_S: Final = 24 * 3600.0
_AGAIN_AFTER_S: Final = 3600.0
_NOT_CONNECTED_S: Final = 60.0
# After SIGTERM.  The process may be killed at any moment without a loss.
_END_LIMIT_S: Final = 2.0
_LOWEST_PRIORITY: Final = 19
_MAX_LINE_BYTES: Final = 4_096
# A checkout is not installed.
_MODULES: Final = Path(__file__).parents[2]


def check_retention(retention: RetentionConfig) -> None:
    """Raise an error if the settings of retention cannot work on this machine.

    Raises:
        ConfigError: pyarrow is missing, or the directory of the files is not safe.
    """
    if retention.keep_months and retention.archive_dir is not None:
        need_pyarrow()
        make_own_directory(retention.archive_dir, setting="GREEKS_ARCHIVE_DIR")


async def run_retention(
    config: Callable[[], Config],
    conditions: Conditions,
    is_connected: Callable[[], bool],
    *,
    first_after_s: float = _FIRST_AFTER_S,
) -> None:
    """Archive and drop the months that are due, once a day, until cancelled.

    It starts no process while the database is away.  A process that runs is ended when this
    task is cancelled; the next run of the service goes on.

    Args:
        config: Returns the present configuration.
        conditions: Gets the fault ``retention failed``.
        is_connected: Whether the writer has the database.
        first_after_s: Seconds before the first run.
    """
    await trio.sleep(first_after_s)
    while True:
        present = config()
        if not _has_work(present.retention):
            conditions.end(ConditionKind.RETENTION_FAILED)
            await trio.sleep(_NOT_CONNECTED_S)
            continue
        if not is_connected():
            await trio.sleep(_NOT_CONNECTED_S)
            continue
        problem = await _run_once(present)
        if problem is None:
            conditions.end(ConditionKind.RETENTION_FAILED)
            await trio.sleep(_INTERVAL_S)
        else:
            conditions.begin(
                ConditionKind.RETENTION_FAILED,
                f"retention: {problem}; the next try follows within an hour",
            )
            await trio.sleep(_AGAIN_AFTER_S)


def _has_work(retention: RetentionConfig) -> bool:
    return bool(retention.keep_months or retention.keep_payload_months)


async def _run_once(config: Config) -> str | None:
    """Run the command, and return its last words if it failed."""
    try:
        check_retention(config.retention)
    except ConfigError as exc:
        return "; ".join(exc.problems)
    logger.info("retention.started")
    lines = _LastLine()
    async with trio.open_nursery() as nursery:
        process = await nursery.start(partial(_start, config))
        assert process.stdout is not None  # noqa: S101 - a pipe
        # The process has ended, or a filter of system calls forbids it.
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, _LOWEST_PRIORITY)
        buffer = b""
        async for data in process.stdout:
            *whole, buffer = (buffer + data).split(b"\n")
            for line in whole:
                lines.take(line)
            buffer = buffer[:_MAX_LINE_BYTES]
        lines.take(buffer)
    status = process.returncode
    logger.info("retention.ended status=%s", status)
    return None if status == 0 else lines.last or f"the process ended with {status}"


# `trio.run_process` tells that it has started.
async def _start(  # noqa: ASYNC128
    config: Config,
    task_status: trio.TaskStatus[trio.Process],
) -> None:
    await trio.run_process(
        [sys.executable, "-m", "greeks_trio", "archive", "--run"],
        env=_environment(config),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        capture_stdout=False,
        stderr=subprocess.STDOUT,
        check=False,
        # A file .env of this directory must not win over the settings of the service.
        cwd="/",
        start_new_session=True,
        deliver_cancel=_end,
        task_status=task_status,
    )


def _environment(config: Config) -> dict[str, str]:
    """Return the variables of the process, which finds our modules in any directory."""
    found = child_environment(config)
    paths = [str(_MODULES), found.get("PYTHONPATH", "")]
    return {**found, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


async def _end(process: trio.Process) -> None:
    process.terminate()
    with trio.move_on_after(_END_LIMIT_S):
        await process.wait()
        return
    process.kill()


class _LastLine:
    """Logs the lines of the process and keeps the last one."""

    def __init__(self) -> None:
        self.last = ""

    def take(self, line: bytes) -> None:
        if text := clean(line.decode("utf-8", "replace")).strip():
            self.last = text
            logger.info("retention.said %s", text)
