"""The service's side: starts the worker, gives it one job at a time, and ends it.

The worker starts with the first job and ends after a while without one, so it costs no
memory without requests.  A job that fails, takes too long or is cancelled ends the process:
its answer must not be taken for that of the next job.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from subprocess import PIPE
from typing import Final, NoReturn

import msgspec
import trio

from greeks_trio.errors import (
    JobRefused,
    JobTooLong,
    WorkerBusy,
    WorkerFailed,
    plain_text,
)
from greeks_trio.worker.frames import ANSWER, REFUSED, REQUEST, Request

logger = logging.getLogger(__name__)

# Jobs that wait, beside the one that runs.  Each may hold some MB of positions.
_MAX_WAITING: Final = 4
_JOB_LIMIT_S: Final = 20.0
_IDLE_LIMIT_S: Final = 300.0
_END_LIMIT_S: Final = 2.0
_CHUNK: Final = 65_536
# No answer is larger; a larger number means that something else wrote to stdout.
_MAX_ANSWER_BYTES: Final = 256 * 2**20
_CHILD: Final = (sys.executable, "-m", "greeks_trio.worker.child")


class Worker:
    """Runs jobs in another process; `run` ends the process at the end.

    Args:
        command: The program of the process.
        job_limit_s: The longest time of a job, with the start of the process.
        idle_limit_s: The process ends after this time without a job.
    """

    def __init__(
        self,
        command: Sequence[str] = _CHILD,
        *,
        job_limit_s: float = _JOB_LIMIT_S,
        idle_limit_s: float = _IDLE_LIMIT_S,
    ) -> None:
        self._command = list(command)
        self._job_limit_s = job_limit_s
        self._idle_limit_s = idle_limit_s
        self._turn = trio.Lock()
        self._waiting = 0
        self._used = trio.Event()
        self._process: trio.Process | None = None

    @property
    def pid(self) -> int | None:
        """The process, if there is one at present."""
        return None if self._process is None else self._process.pid

    async def run(self) -> NoReturn:
        """End the process after a time without jobs; on cancellation, end it at once."""
        try:
            while True:
                await self._used.wait()
                self._used = trio.Event()
                with trio.move_on_after(self._idle_limit_s) as idle:
                    await self._used.wait()
                if idle.cancelled_caught:
                    async with self._turn:
                        await self._end()
        finally:
            with trio.move_on_after(_END_LIMIT_S, shield=True):
                await self._end()

    async def call(self, job: str, *parts: bytes) -> bytes:
        """Return the answer of a job.

        Raises:
            WorkerBusy: Too many jobs wait, or the ones before took too long.
            WorkerFailed: The process did not start, or ended.
            JobTooLong: The job was ended by its time limit.
            JobRefused: The job cannot be done with these values.
        """
        if self._waiting > _MAX_WAITING:
            raise WorkerBusy
        self._waiting += 1
        try:
            with trio.move_on_after(self._job_limit_s) as wait:
                await self._turn.acquire()
            if wait.cancelled_caught:
                raise WorkerBusy
            try:
                return await self._in_time(Request(job, parts))
            finally:
                self._turn.release()
        finally:
            self._waiting -= 1

    async def _in_time(self, request: Request) -> bytes:
        self._used.set()
        is_over = False
        try:
            with trio.fail_after(self._job_limit_s):
                outcome, body = await self._exchange(request)
            is_over = True
        except trio.TooSlowError:
            logger.error("worker.too_slow job=%s", request.job)
            raise JobTooLong from None
        finally:
            if not is_over:
                with trio.move_on_after(_END_LIMIT_S, shield=True):
                    await self._end()
            self._used.set()
        if outcome == REFUSED:
            raise JobRefused(body.decode())
        return body

    async def _exchange(self, request: Request) -> tuple[int, bytes]:
        """Return the outcome and the body.

        Raises:
            WorkerFailed: The process did not start, or ended.
        """
        try:
            process = self._process
            if process is None or process.poll() is not None:
                process = await self._start()
            assert process.stdin is not None  # noqa: S101  # it is a pipe
            body = msgspec.msgpack.encode(request)
            await process.stdin.send_all(REQUEST.pack(len(body)) + body)
            outcome, size = ANSWER.unpack(await _receive(process, ANSWER.size))
            return outcome, bytes(await _receive(process, size))
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise WorkerFailed(str(exc) or type(exc).__name__) from exc
        except WorkerFailed as exc:
            logger.error("worker.failed job=%s reason=%s", request.job, exc)
            raise

    async def _start(self) -> trio.Process:
        await self._end()
        self._process = await trio.lowlevel.open_process(
            self._command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            # Ctrl-C at a terminal is for the service, which ends the process.
            process_group=0,
        )
        logger.info("worker.started pid=%d", self._process.pid)
        return self._process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with trio.move_on_after(_END_LIMIT_S, shield=True):
            process.kill()
            await process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    await pipe.aclose()


async def _receive(process: trio.Process, size: int) -> bytearray:
    """Return so many bytes of the answer.

    Raises:
        WorkerFailed: The process ended before, or the answer is too large.
    """
    if size > _MAX_ANSWER_BYTES:
        raise WorkerFailed("its answer is too large")
    assert process.stdout is not None  # noqa: S101  # it is a pipe
    received = bytearray()
    while len(received) < size:
        chunk = await process.stdout.receive_some(min(_CHUNK, size - len(received)))
        if not chunk:
            raise WorkerFailed(await _last_words(process))
        received += chunk
    return received


async def _last_words(process: trio.Process) -> str:
    """Return why the process ended: its last line on stderr, or the signal."""
    assert process.stderr is not None  # noqa: S101  # it is a pipe
    text = b""
    with trio.move_on_after(_END_LIMIT_S), suppress(trio.BrokenResourceError):
        async for chunk in process.stderr:
            text = (text + chunk)[-_CHUNK:]
    lines = text.decode("utf-8", "replace").strip().splitlines()
    if lines:
        return plain_text(lines[-1])
    with trio.move_on_after(_END_LIMIT_S):
        if (status := await process.wait()) < 0:
            return f"signal {-status} ended it"
    return "it ended without a word"
