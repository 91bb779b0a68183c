"""psycopg's asynchronous connection, waiting on Trio instead of asyncio.

psycopg writes each step of the protocol as a generator that yields what it waits for
("this socket, readable"), and leaves the waiting to a small driver.  The drivers here
wait with Trio; everything else, cursors, COPY, transactions, pipelines, is psycopg's.

Cancellation is honoured: a cancelled operation is cancelled on the server too.  If the
server answers within `TrioConnection.cancel_limit_s` the connection is in order
afterwards, else it is closed; it is never left in the middle of an exchange.

Discussion: asyncio cancels once, so psycopg's clean-up code can simply await; in a
cancelled Trio scope every wait is cancelled again.  Hence what is shielded and bounded
here: leaving a transaction, and in `wait` the end of an exchange that is under way.

Not supported: `psycopg.copy.AsyncQueuedLibpqWriter`, which is built on asyncio's queue.

Imports only the standard library, trio and psycopg.  Private names of psycopg, because
of which its minor version is pinned: ``psycopg.errors._WaitTimeout``, and of the class
``_adapters``, ``_autocommit``, ``_cancel_gen``, ``_connect_gen``, ``_pipeline``,
``_get_connection_params``, ``_should_cancel``, ``_try_cancel``.

Source: psycopg's ``connection_async.py``, ``waiting.py`` and ``generators.py``.
"""

from __future__ import annotations

import logging
import select
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import psycopg
import trio
from psycopg import capabilities, generators
from psycopg.abc import AdaptContext, ConnDict, ConnParam, PQGen, PQGenConn
from psycopg.adapt import AdaptersMap
from psycopg.conninfo import conninfo_attempts, make_conninfo, timeout_from_conninfo
from psycopg.errors import CancellationTimeout, ConnectionTimeout, _WaitTimeout
from psycopg.pq import ExecStatus, PipelineStatus, TransactionStatus
from psycopg.pq.abc import PGconn
from psycopg.rows import AsyncRowFactory, Row, tuple_row
from psycopg.waiting import Ready, Wait

logger = logging.getLogger(__name__)

RV = TypeVar("RV")

# How long an operation may run without giving other tasks a turn, when its socket is
# always ready.  Seconds; psycopg does the same on asyncio.
_MAX_BUSY_S: Final = 0.005

# A server that is just compiling a query (PostgreSQL 15 with JIT was seen to do so) may
# lose the request to cancel it.  Seconds after which to ask again.
_CANCEL_AGAIN_S: Final = 0.25


class TrioConnection(psycopg.AsyncConnection[Row]):
    """A `psycopg.AsyncConnection` under Trio; tasks that share it take turns.

    Attributes:
        cancel_limit_s: Seconds that the server may take to end a cancelled operation
            before the connection is closed.
    """

    cancel_limit_s: float = 5.0

    def __init__(
        self, pgconn: PGconn, row_factory: AsyncRowFactory[Any] = tuple_row
    ) -> None:
        super().__init__(pgconn, row_factory)
        self.lock = _Lock()  # type: ignore[assignment]  # psycopg says asyncio.Lock
        self._yielded_at = time.perf_counter()

    @classmethod
    async def connect(
        cls,
        conninfo: str = "",
        *,
        autocommit: bool = False,
        prepare_threshold: int | None = 5,
        context: AdaptContext | None = None,
        row_factory: AsyncRowFactory[Row] | None = None,
        cursor_factory: type[psycopg.AsyncCursor[Row]] | None = None,
        **kwargs: ConnParam,
    ) -> Self:
        """Connect, trying each address of each host in turn, and return the connection.

        ``connect_timeout`` counts for each address, as in psycopg.

        Raises:
            psycopg.OperationalError: none of the addresses could be connected to.
        """
        params = await cls._get_connection_params(conninfo, **kwargs)
        connection = await cls._connect_any(params)
        connection._autocommit = bool(autocommit)
        if row_factory:
            connection.row_factory = row_factory
        if cursor_factory:
            connection.cursor_factory = cursor_factory
        if context:
            connection._adapters = AdaptersMap(context.adapters)
        connection.prepare_threshold = prepare_threshold
        return connection

    @classmethod
    async def _connect_any(cls, params: ConnDict) -> Self:
        timeout_s = timeout_from_conninfo(params)
        failures: list[tuple[str, psycopg.Error]] = []
        # Resolves names, so it blocks; libpq would too.
        attempts = await trio.to_thread.run_sync(
            conninfo_attempts, params, abandon_on_cancel=True
        )
        for attempt in attempts:
            steps = cls._connect_gen(make_conninfo("", **attempt))
            try:
                with trio.fail_after(timeout_s):
                    return await _drive_connecting(steps)
            except trio.TooSlowError:
                error: psycopg.Error = ConnectionTimeout("connection timeout expired")
            except psycopg.Error as exc:
                error = exc
            finally:
                steps.close()  # and with it the socket of an attempt that was cut off
            where = {key: attempt.get(key) for key in ("host", "port", "hostaddr")}
            failures.append((str(where), error.with_traceback(None)))
        raise _summary(failures) from None

    async def _leave(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Commit, or roll back after an exception, and close in any case."""
        try:
            await super().__aexit__(exc_type, exc_val, exc_tb)
        finally:
            if not getattr(self, "_pool", None):
                self.close_nowait()

    # Not named so: linters want clean-up shielded, but a commit may be cancelled.
    __aexit__ = _leave

    async def close(self) -> None:
        """Close the connection; who waits on it gets an `OperationalError`."""
        if not self.closed:
            trio.lowlevel.notify_closing(self.pgconn.socket)
        await super().close()

    def close_nowait(self) -> None:
        """Close at once, whatever the connection is in the middle of."""
        if not self.closed:
            trio.lowlevel.notify_closing(self.pgconn.socket)
            self.pgconn.finish()

    async def cancel_safe(self, *, timeout: float = 30.0) -> None:  # noqa: ASYNC109
        """Ask the server to cancel what this connection is doing.

        Raises:
            psycopg.errors.CancellationTimeout: the server did not take the request
                within ``timeout`` seconds; 0 means no limit.
        """
        if not self._should_cancel():
            return
        try:
            with trio.fail_after(timeout or float("inf")):
                if capabilities.has_cancel_safe():
                    await _drive_connecting(self._cancel_gen())
                else:
                    await trio.to_thread.run_sync(self.cancel, abandon_on_cancel=True)
        except trio.TooSlowError:
            raise CancellationTimeout("cancellation timeout expired") from None

    async def _try_cancel(self, *, timeout: float = 5.0) -> None:  # noqa: ASYNC109
        with trio.move_on_after(timeout, shield=True):
            try:
                await self.cancel_safe(timeout=timeout)
            except psycopg.Error as exc:
                logger.warning("connection.cancel_failed reason=%s", exc)

    @asynccontextmanager
    async def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> AsyncIterator[psycopg.AsyncTransaction]:
        """Run the block in a transaction, or a savepoint inside of one."""
        transaction = psycopg.AsyncTransaction(self, savepoint_name, force_rollback)
        entered = self._undone_if_cancelled(transaction)
        if self._pipeline:
            async with self.pipeline(), entered, self.pipeline():
                yield transaction
        else:
            async with entered:
                yield transaction

    @asynccontextmanager
    async def _undone_if_cancelled(
        self, transaction: psycopg.AsyncTransaction
    ) -> AsyncIterator[None]:
        try:
            async with transaction:
                yield
        finally:
            # Still active: it could not even begin to commit or to roll back.
            if transaction.status is transaction.Status.ACTIVE:
                transaction.force_rollback = True
                with trio.move_on_after(self.cancel_limit_s, shield=True):
                    await transaction.__aexit__(None, None, None)
            if transaction.status is transaction.Status.ACTIVE:
                self.close_nowait()

    async def wait(
        self,
        gen: PQGen[RV],
        interval: float = 0.1,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> RV:
        """Run one of psycopg's generators to its end; ``interval`` has no meaning here.

        Raises:
            psycopg.errors._WaitTimeout: it takes longer than ``timeout`` seconds.
        """
        try:
            await self._take_turns()
            if timeout is None:
                return await _drive(gen, self.pgconn.socket)
            with trio.move_on_after(timeout):
                return await _drive(gen, self.pgconn.socket, look_first=True)
        except (trio.Cancelled, KeyboardInterrupt, SystemExit):
            is_pipeline = self.pgconn.pipeline_status != PipelineStatus.OFF
            if is_pipeline or self._has_unread_results():
                with trio.move_on_after(self.cancel_limit_s, shield=True):
                    await self._end_operation(gen)
            raise
        raise _WaitTimeout("wait timeout expired")

    async def _take_turns(self) -> None:
        """Let a pending cancellation through before anything is sent."""
        if time.perf_counter() - self._yielded_at > _MAX_BUSY_S:
            await trio.lowlevel.checkpoint()
            self._yielded_at = time.perf_counter()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()

    async def _end_operation(self, gen: PQGen[Any]) -> None:
        """Cancel on the server, and read to the end of what it answers.

        Also for an operation that was not begun: in the middle of a COPY or a pipeline
        it is the step that ends it.  Closes the connection if that fails.
        """
        is_ended = False
        try:
            while not is_ended:
                await self._try_cancel(timeout=self.cancel_limit_s)
                with trio.move_on_after(_CANCEL_AGAIN_S):
                    await self._read_to_end(gen)
                    is_ended = True
        finally:
            if not is_ended or self._has_unread_results():
                logger.warning("connection.closed reason=cancel-not-answered")
                self.close_nowait()

    async def _read_to_end(self, gen: PQGen[Any]) -> None:
        with suppress(psycopg.Error):  # mostly QueryCanceled, as asked
            await _drive(gen, self.pgconn.socket)
        with suppress(psycopg.Error):
            while self._has_unread_results():
                await self._take_turns()
                await self._skip_result()

    def _has_unread_results(self) -> bool:
        is_active = self.pgconn.transaction_status == TransactionStatus.ACTIVE
        return is_active and self.pgconn.pipeline_status == PipelineStatus.OFF

    async def _skip_result(self) -> None:
        fileno = self.pgconn.socket
        result = await _drive(generators.fetch(self.pgconn), fileno)
        match result and result.status:
            case ExecStatus.COPY_IN:
                await _drive(generators.copy_end(self.pgconn, b"cancelled"), fileno)
            case ExecStatus.COPY_OUT:
                copying: object = b""
                while isinstance(copying, (bytes, memoryview)):
                    copying = await _drive(generators.copy_from(self.pgconn), fileno)


class _Lock:
    """A `trio.Lock` that does not checkpoint when it is free.

    What begins after a cancellation decides for itself what it still has to do.
    """

    def __init__(self) -> None:
        self._lock = trio.Lock()

    async def __aenter__(self) -> None:
        try:
            self._lock.acquire_nowait()
        except trio.WouldBlock:
            await self._lock.acquire()

    async def __aexit__(self, *exc_info: object) -> None:
        self._lock.release()


# Connecting.


def _summary(failures: Sequence[tuple[str, psycopg.Error]]) -> psycopg.Error:
    """Return the only failure, or one of the last one's type that tells about all."""
    last = failures[-1][1]
    if len(failures) == 1:
        return last
    lines = [str(last), "Multiple connection attempts failed. All failures were:"]
    lines += [f"- {where}: {error}" for where, error in failures]
    summary = type(last)("\n".join(lines), pgconn=last.pgconn)
    summary.sqlstate = last.sqlstate
    return summary


async def _drive_connecting(gen: PQGenConn[RV]) -> RV:
    """Run a generator that names its socket at each step, because libpq may change it."""
    try:
        fileno, wanted = next(gen)
        while True:
            ready = await _wait_ready(fileno, wanted)
            fileno, wanted = gen.send(ready)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    except (OSError, trio.ClosedResourceError) as exc:
        raise psycopg.OperationalError("connection socket closed") from exc


# Waiting.


async def _drive(gen: PQGen[RV], fileno: int, *, look_first: bool = False) -> RV:
    """Run a generator from where it is to its end; ``look_first`` even when late."""
    turn_at = time.perf_counter()
    try:
        wanted = next(gen)
        while True:
            # Nearly always writable, and asking is cheaper than a turn of the loop.
            ready = 0
            if look_first or wanted != Wait.R:
                ready = _ready_nowait(fileno, wanted)
            if not ready:
                ready = await _wait_ready(fileno, wanted)
                turn_at = time.perf_counter()
            elif time.perf_counter() - turn_at > _MAX_BUSY_S:
                await trio.lowlevel.checkpoint()
                turn_at = time.perf_counter()
            wanted = gen.send(ready)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    except (OSError, trio.ClosedResourceError) as exc:
        raise psycopg.OperationalError("connection socket closed") from exc


async def _wait_ready(fileno: int, wanted: Wait) -> int:
    if wanted == Wait.R:
        await trio.lowlevel.wait_readable(fileno)
        return Ready.R
    if wanted == Wait.W:
        await trio.lowlevel.wait_writable(fileno)
        return Ready.W
    return await _wait_either(fileno)


async def _wait_either(fileno: int) -> int:
    ready = 0

    async def wait_readable() -> None:
        nonlocal ready
        await trio.lowlevel.wait_readable(fileno)
        ready |= Ready.R
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_readable)
        await trio.lowlevel.wait_writable(fileno)
        ready |= Ready.W
        nursery.cancel_scope.cancel()
    return ready


def _ready_nowait(fileno: int, wanted: Wait) -> int:
    reading, writing = bool(wanted & Wait.R), bool(wanted & Wait.W)
    poller = select.poll()
    poller.register(fileno, select.POLLIN * reading | select.POLLOUT * writing)
    for _, found in poller.poll(0):
        if found & select.POLLNVAL:
            raise OSError("the socket is closed")
        readable = Ready.R if found & select.POLLIN else Ready.NONE
        writable = Ready.W if found & select.POLLOUT else Ready.NONE
        # An error or a hang-up counts as ready: libpq finds out what it is.
        return readable | writable or int(wanted)
    return 0
