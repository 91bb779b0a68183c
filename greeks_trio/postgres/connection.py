"""psycopg's asynchronous connection, waiting on Trio instead of asyncio.

psycopg writes each step of the protocol as a generator that yields what it waits for
("this socket, readable"), and leaves the waiting to a small driver.  The drivers here
wait with Trio; everything else, cursors, COPY, transactions, pipelines, is psycopg's.

Cancellation is honoured: a cancelled operation is cancelled on the server too.  If the
server answers within `TrioConnection.cancel_limit_s` the connection is in order
afterwards, else it is closed; it is never left in the middle of an exchange.

Discussion of what psycopg assumes and Trio does not do: asyncio cancels once, so that
clean-up code which awaits just works; in a cancelled Trio scope every wait is cancelled
again.  Hence the places where clean-up is shielded and bounded: leaving a transaction,
and `wait` itself, which finishes an exchange that is under way before it lets the
cancellation through.

Not supported: `psycopg.copy.AsyncQueuedLibpqWriter`, which is built on asyncio's queue.

Imports only the standard library, trio and psycopg.  These private names of psycopg are
used, and are the reason why its minor version is pinned:

* ``psycopg._conninfo_utils``: ``get_param``, ``is_ip_address``, ``split_attempts``
* ``psycopg.errors._WaitTimeout``
* ``AsyncConnection``: ``_adapters``, ``_autocommit``, ``_cancel_gen``, ``_connect_gen``,
  ``_get_connection_params``, ``_pipeline``, ``_should_cancel``, ``_try_cancel``

Source: psycopg's ``connection_async.py``, ``waiting.py`` and ``generators.py``.
"""

from __future__ import annotations

import logging
import random
import select
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import psycopg
import trio
from psycopg import capabilities, generators
from psycopg._conninfo_utils import get_param, is_ip_address, split_attempts
from psycopg.abc import AdaptContext, ConnDict, ConnParam, PQGen, PQGenConn
from psycopg.adapt import AdaptersMap
from psycopg.conninfo import make_conninfo, timeout_from_conninfo
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

_INTERRUPTIONS: Final = (trio.Cancelled, KeyboardInterrupt, SystemExit)


class TrioConnection(psycopg.AsyncConnection[Row]):
    """A `psycopg.AsyncConnection` for use under Trio; one task uses it at a time.

    Several tasks may share it; each operation waits for the one before.

    Attributes:
        cancel_limit_s: Seconds that the server may take to end a cancelled operation
            before the connection is closed.
    """

    cancel_limit_s: float = 5.0

    def __init__(
        self,
        pgconn: PGconn,
        row_factory: AsyncRowFactory[Row] = tuple_row,  # type: ignore[assignment]
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
        for attempt in await _attempts(params):
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
            failures.append((_describe(attempt), error.with_traceback(None)))
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

    # Under a name that does not promise a linter that nothing in it can be cancelled:
    # a commit can, and closing rolls back.
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
        """Run one of psycopg's generators to its end and return its result.

        ``interval`` is psycopg's and has no meaning here.

        Raises:
            psycopg.errors._WaitTimeout: it takes longer than ``timeout`` seconds.
        """
        try:
            await self._take_turns()
            if timeout is None:
                return await _drive(gen, self.pgconn.socket)
            with trio.move_on_after(timeout):
                return await _drive(gen, self.pgconn.socket, look_first=True)
        except _INTERRUPTIONS:
            if self._is_busy():
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

    def _is_busy(self) -> bool:
        return (
            self.pgconn.transaction_status == TransactionStatus.ACTIVE
            or self.pgconn.pipeline_status != PipelineStatus.OFF
        )

    async def _end_operation(self, gen: PQGen[Any]) -> None:
        """Cancel on the server, and read to the end of what it answers.

        Also for an operation that was not begun: in the middle of a COPY or a pipeline
        it is the step that ends it.  Closes the connection if that fails.
        """
        is_ended = False
        try:
            await self._try_cancel(timeout=self.cancel_limit_s)
            await self._read_to_end(gen)
            is_ended = True
        finally:
            if not is_ended:
                logger.warning("connection.closed reason=cancel-not-answered")
                self.close_nowait()

    async def _read_to_end(self, gen: PQGen[Any]) -> None:
        try:
            await _drive(gen, self.pgconn.socket)
            if self.pgconn.pipeline_status == PipelineStatus.OFF:
                while self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                    await self._skip_result()
        except psycopg.errors.QueryCanceled:
            pass  # as asked
        except psycopg.Error as exc:
            logger.debug("connection.cancelled reason=%s", exc)

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

    An operation that begins after a cancellation decides for itself what it still has
    to do (`TrioConnection.wait`), and one that ends saves a turn of the scheduler.
    """

    def __init__(self) -> None:
        self._lock = trio.Lock()

    def locked(self) -> bool:
        return self._lock.locked()

    async def acquire(self) -> None:
        try:
            self._lock.acquire_nowait()
        except trio.WouldBlock:
            await self._lock.acquire()

    def release(self) -> None:
        self._lock.release()

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *exc_info: object) -> None:
        self.release()


# Connecting.


async def _attempts(params: ConnDict) -> list[ConnDict]:
    """Return one set of parameters for each address to try, in order.

    Names are resolved here because libpq would block on them.
    """
    standby_first = get_param(params, "target_session_attrs") == "prefer-standby"
    if standby_first:
        params = {k: v for k, v in params.items() if k != "target_session_attrs"}
    attempts: list[ConnDict] = []
    failure: psycopg.Error | None = None
    for attempt in split_attempts(params):
        try:
            attempts += await _resolved(attempt)
        except OSError as exc:
            failure = psycopg.OperationalError(
                f"failed to resolve host {attempt.get('host')!r}: {exc}"
            )
    if not attempts and failure is not None:
        raise failure
    if get_param(params, "load_balance_hosts") == "random":
        random.shuffle(attempts)
    if standby_first:
        standby = [{**item, "target_session_attrs": "standby"} for item in attempts]
        return standby + attempts
    return attempts


async def _resolved(params: ConnDict) -> list[ConnDict]:
    host = get_param(params, "host")
    # A slash is the directory of a Unix socket, "@" an abstract one.
    if not host or host[0] in "/@" or get_param(params, "hostaddr"):
        return [params]
    if is_ip_address(host):
        return [{**params, "hostaddr": host}]
    found = await trio.socket.getaddrinfo(
        host,
        get_param(params, "port") or "5432",
        type=socket.SOCK_STREAM,
        proto=socket.IPPROTO_TCP,
    )
    return [{**params, "hostaddr": str(address[0])} for *_, address in found]


def _describe(attempt: ConnDict) -> str:
    host, port = attempt.get("host"), attempt.get("port")
    return f"host: {host!r}, port: {port!r}, hostaddr: {attempt.get('hostaddr')!r}"


def _summary(failures: Sequence[tuple[str, psycopg.Error]]) -> psycopg.Error:
    """Return the last failure, or one of its type that tells about all of them."""
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
        result: RV = stop.value
        return result
    except (OSError, trio.ClosedResourceError) as exc:
        raise psycopg.OperationalError("connection socket closed") from exc


# Waiting.


async def _drive(gen: PQGen[RV], fileno: int, *, look_first: bool = False) -> RV:
    """Run a generator from where it is to its end and return its result.

    With ``look_first`` a socket that is ready is used even if the deadline has passed.
    """
    try:
        wanted = next(gen)
        while True:
            ready = _ready_nowait(fileno, wanted) if look_first else 0
            wanted = gen.send(ready or await _wait_ready(fileno, wanted))
    except StopIteration as stop:
        result: RV = stop.value
        return result
    except (OSError, trio.ClosedResourceError) as exc:
        raise psycopg.OperationalError("connection socket closed") from exc


async def _wait_ready(fileno: int, wanted: Wait) -> int:
    if wanted == Wait.R:
        await trio.lowlevel.wait_readable(fileno)
        return Ready.R
    # A socket is nearly always writable, and asking it is much cheaper than a turn of
    # the event loop.
    if ready := _ready_nowait(fileno, wanted):
        return ready
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
    poller = select.poll()
    mask = select.POLLIN * bool(wanted & Wait.R) | select.POLLOUT * bool(
        wanted & Wait.W
    )
    poller.register(fileno, mask)
    for _, found in poller.poll(0):
        if found & select.POLLNVAL:
            raise OSError("the socket is closed")
        # An error or a hang-up counts as ready: libpq finds out what it is.
        if not found & (select.POLLIN | select.POLLOUT):
            return int(wanted)
        return (Ready.R if found & select.POLLIN else 0) | (
            Ready.W if found & select.POLLOUT else 0
        )
    return 0
