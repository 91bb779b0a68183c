"""psycopg's asynchronous connection, waiting on Trio instead of asyncio.

How it works: psycopg writes each step of the protocol as a generator.  The generator
yields its wish ("this socket, readable"), and a small driver waits, here `_drive`.
`TrioConnection` overrides the parts that use the event loop: `connect`, `wait`,
`cancel_safe`, `close` and the lock.  Cursors of every kind, COPY, pipelines, two-phase
commit and notifications are psycopg's own.

An operation that is cancelled, or that Ctrl-C interrupts during a wait, is cancelled on
the server too.  If the server answers within `TrioConnection.cancel_limit_s`, the
connection can be used afterwards.  Otherwise it is closed.  An operation that had not
begun is not sent.  Only the database knows whether a COMMIT under way was in time.
asyncio cancels once, so psycopg's clean-up can simply await.  Trio cancels every wait.
Therefore these steps are shielded and bounded here: leaving a transaction or a pipeline,
closing a server's cursor, and the end of an exchange.

Different from asyncio, and why:

- A COPY with `psycopg.copy.AsyncQueuedLibpqWriter` fails with asyncio's "no running
  event loop": it uses a task and a queue of asyncio.  The other writers do the same work.
- Fetching from a result in memory is no checkpoint, and writing the rows of a COPY gives
  other tasks a turn every 5 ms: these are psycopg's own coroutines, and more turns would
  cost rows/s.
- A task that uses the connection inside its own use of it, as in a loop over `notifies`,
  gets a `RuntimeError`: it would wait for itself for ever.
- Leaving the connection's block closes it also when the COMMIT fails or is cancelled.  A
  COPY whose writer fails at the end is ended.
- `notifies` and `stream` need an `aclosing`, as all of Trio's generators do.

There is no pool: the writer uses one connection, and the reads run in threads with
`psycopg_pool`.  To use this module in another program, copy it, pin psycopg's minor
version, and copy the test that watches these private names.  For that reason the module
is one long file:

- ``errors._WaitTimeout``: `wait` raises it and psycopg's `notifies` expects it.
- ``_adapters``: `connect` puts the adapters of its ``context`` there.
- ``_connect_gen``, ``_get_connection_params``: subclasses of psycopg's class override
  them.
- ``_cancel_gen``, ``_should_cancel``: the request to cancel, and its condition.
- ``_try_cancel``: overridden, because psycopg's cursors and COPY call it.
- ``AsyncPipeline._enter_gen``, ``_exit_gen``, ``AsyncServerCursor._close_gen``,
  ``AsyncTransaction._enter_gen``: see `_AT_ENTRY` and `_BEGINS_AT_ONCE`.

Source: psycopg's ``connection_async.py``, ``waiting.py`` and ``generators.py``.
"""

from __future__ import annotations

import logging
import select
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast
from weakref import WeakMethod

import psycopg
import trio
from psycopg import capabilities, generators
from psycopg.abc import AdaptContext, ConnDict, ConnParam, PQGen, PQGenConn
from psycopg.adapt import AdaptersMap
from psycopg.conninfo import conninfo_attempts, make_conninfo, timeout_from_conninfo
from psycopg.errors import CancellationTimeout, ConnectionTimeout, _WaitTimeout
from psycopg.pq import Conninfo, ExecStatus, PipelineStatus, TransactionStatus
from psycopg.pq.abc import PGconn
from psycopg.rows import AsyncRowFactory, Row, tuple_row
from psycopg.waiting import Ready, Wait

logger = logging.getLogger(__name__)

RV = TypeVar("RV")
Wanted = TypeVar("Wanted")

_INTERRUPTIONS: Final = (trio.Cancelled, KeyboardInterrupt, SystemExit)

# Longest time in seconds without a turn for other tasks while the socket is ready; the
# same as in psycopg.
_MAX_BUSY_S: Final = 0.005

# Seconds before the request to cancel is sent again.  A server that compiles a query may
# lose the request (seen with PostgreSQL 15 and JIT).
_CANCEL_AGAIN_S: Final = 0.25

# Once begun, these run to their end and report it: psycopg uses the end to count the depth
# of pipelines and to know that a server's cursor is closed.  The cancellation takes effect
# at the next checkpoint.  The ones at the exit of a block also begin after a cancellation.
_AT_ENTRY: Final = {psycopg.AsyncPipeline._enter_gen.__code__}
_AT_EXIT: Final = {
    psycopg.AsyncPipeline._exit_gen.__code__,
    psycopg.AsyncServerCursor._close_gen.__code__,
}
# If this fails, psycopg undoes it as if it had begun; `transaction` checks before it.
_BEGINS_AT_ONCE: Final = psycopg.AsyncTransaction._enter_gen.__code__


class _TurnLock:
    """A fair lock with the interface of `asyncio.Lock`, which psycopg expects.

    Taking a free lock is no checkpoint: an operation that begins after a cancellation
    decides for itself about its remaining steps.  A task that leaves the block without
    any wait gives other tasks a turn; together with `make_way` this makes each operation
    of the connection a checkpoint.  A task that leaves the block with an error first ends
    the exchange under way, see `end_exchange`.  Another task may release the lock: the
    event loop does so when it closes a forgotten generator.
    """

    def __init__(self, end_exchange: WeakMethod[Callable[[], Awaitable[None]]]) -> None:
        self._end_exchange = end_exchange
        self._semaphore = trio.Semaphore(1, max_value=1)
        self._holder: trio.lowlevel.Task | None = None
        self._taken_at = self.turn_at = time.perf_counter()

    def locked(self) -> bool:
        return self._semaphore.value == 0

    @trio.lowlevel.enable_ki_protection
    async def acquire(self) -> bool:
        task = trio.lowlevel.current_task()
        if self._holder is task:
            raise RuntimeError("this task is in the middle of using the connection")
        if self.locked():
            await self._semaphore.acquire()
            self.note_turn()
        else:
            self._semaphore.acquire_nowait()
        self._holder = task
        self._taken_at = time.perf_counter()
        return True

    @trio.lowlevel.enable_ki_protection
    def release(self) -> None:
        self._holder = None
        self._semaphore.release()

    __aenter__ = acquire

    @trio.lowlevel.enable_ki_protection
    async def _leave(self, *exc_info: object) -> None:
        end_exchange = self._end_exchange()
        try:
            if exc_info[0] and end_exchange:
                await end_exchange()  # shielded, and bounded
        finally:
            self.release()
        if self.turn_at < self._taken_at:
            await trio.lowlevel.cancel_shielded_checkpoint()
            self.note_turn()

    __aexit__ = _leave

    def note_turn(self) -> None:
        self.turn_at = time.perf_counter()

    async def make_way(self) -> None:
        """Let a pending cancellation through, and other tasks if it is their turn."""
        if time.perf_counter() - self.turn_at > _MAX_BUSY_S:
            await trio.lowlevel.checkpoint()
            self.note_turn()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()


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
        lock = _TurnLock(WeakMethod(self._end_exchange))
        self.lock: _TurnLock = lock  # type: ignore[assignment]

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
        if row_factory:
            connection.row_factory = row_factory
        if cursor_factory:
            connection.cursor_factory = cursor_factory
        if context:
            connection._adapters = AdaptersMap(context.adapters)
        connection.prepare_threshold = prepare_threshold
        if autocommit:
            try:
                with trio.CancelScope(shield=True):  # nothing is sent, so it is quick
                    await connection.set_autocommit(True)
            except _INTERRUPTIONS:
                connection.close_nowait()
                raise
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
            try:
                with trio.fail_after(timeout_s):
                    steps = cls._connect_gen(make_conninfo("", **attempt))
                    connection = await cls._run_connecting(steps)
            except trio.TooSlowError:
                error: psycopg.Error = ConnectionTimeout("connection timeout expired")
            except psycopg.Error as exc:
                error = exc
            else:
                _warn_of_gssapi(connection.pgconn, params)
                return connection
            keys = ("host", "port", "hostaddr")
            where = ", ".join(f"{key}: {attempt.get(key)!r}" for key in keys)
            failures.append((where, error.with_traceback(None)))
        raise _summary(failures) from None

    @classmethod
    async def _run_connecting(cls, steps: PQGenConn[Self]) -> Self:
        return await _drive_connecting(steps)

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
            self.close_nowait()

    # Not named so: linters want clean-up shielded, but a commit may be cancelled.
    __aexit__ = _leave

    async def close(self) -> None:
        """Close the connection; a task that waits on it gets an `OperationalError`.

        The connection is closed also when this call is cancelled.
        """
        if not self.closed:
            trio.lowlevel.notify_closing(self.pgconn.socket)
        await super().close()
        await trio.lowlevel.checkpoint()

    def close_nowait(self) -> None:
        """Close at once, also in the middle of an operation."""
        if not self.closed:
            trio.lowlevel.notify_closing(self.pgconn.socket)
            self.pgconn.finish()

    async def cancel_safe(self, *, timeout: float = 30.0) -> None:  # noqa: ASYNC109
        """Ask the server to cancel the operation of this connection.

        Raises:
            psycopg.errors.CancellationTimeout: the server did not take the request
                within ``timeout`` seconds; 0 means no limit.
        """
        if not self._should_cancel():
            await trio.lowlevel.checkpoint()
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
        limit_s = min(timeout, self.cancel_limit_s)
        with trio.move_on_after(limit_s, shield=True):
            try:
                await self.cancel_safe(timeout=limit_s)
            except psycopg.Error as exc:
                logger.warning("connection.cancel_failed reason=%s", exc)

    @asynccontextmanager
    async def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> AsyncIterator[psycopg.AsyncTransaction]:
        """Run the block in a transaction, or a savepoint inside of one."""
        transaction = psycopg.AsyncTransaction(self, savepoint_name, force_rollback)
        block = self.pipeline if self._is_in_pipeline() else nullcontext
        await self.lock.make_way()
        try:
            async with block(), transaction, block():
                yield transaction
        finally:
            # Still active: it could not begin to commit or to roll back.
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
            psycopg.errors._WaitTimeout: the generator takes longer than ``timeout``
                seconds.
        """
        has_begun = False
        try:
            if getattr(gen, "gi_code", None) is not _BEGINS_AT_ONCE:
                await self.lock.make_way()
            has_begun = True
            if timeout is None:
                return await self._run(gen)
            with trio.move_on_after(timeout):
                return await self._run(gen, look_first=True)
        except _INTERRUPTIONS as exc:
            code = getattr(gen, "gi_code", None)
            has_begun = has_begun or code in _AT_EXIT
            is_at_border = has_begun and code in _AT_ENTRY | _AT_EXIT
            is_done = False
            if not has_begun:
                gen.close()
            if is_at_border or self._is_under_way(has_begun=has_begun):
                with trio.move_on_after(self.cancel_limit_s, shield=True):
                    is_done = await self._end_operation(gen)
            if is_done and is_at_border:
                if isinstance(exc, trio.Cancelled):
                    return cast(RV, None)  # as that generator does
                if code in _AT_ENTRY:
                    self.close_nowait()  # entered, and the block's exit will not run
            raise
        raise _WaitTimeout("wait timeout expired")

    def _run(self, gen: PQGen[RV], *, look_first: bool = False) -> Awaitable[RV]:
        """Run a generator from its present step to its end.

        With ``look_first`` it looks at the socket also when its turn is over.
        """
        fileno = self.pgconn.socket

        async def wait_for(wanted: Wait) -> int:
            # The socket is nearly always writable, and a look is cheaper than a wait.
            if look_first or wanted != Wait.R:
                ready = _ready_nowait(fileno, wanted)
                if ready and time.perf_counter() - self.lock.turn_at <= _MAX_BUSY_S:
                    return ready
            ready = await _wait_ready(fileno, wanted)
            self.lock.note_turn()
            return ready

        return _drive(gen, wait_for)

    def _is_under_way(self, *, has_begun: bool) -> bool:
        """Return whether the server is working for us: the operation's step, or a COPY."""
        return self._has_unread_results() or (has_begun and self._is_in_pipeline())

    async def _end_exchange(self) -> None:
        """End the exchange that an error has left open, such as a failed COPY."""
        if self._has_unread_results():
            with trio.move_on_after(self.cancel_limit_s, shield=True):
                await self._end_operation(_nothing())

    async def _end_operation(self, gen: PQGen[Any]) -> bool:
        """Cancel on the server, and read its answer to the end.

        Closes the connection if that fails.  Returns whether the generator reached its
        end without an error.
        """
        is_done = is_ended = False
        try:
            while not is_ended:
                if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                    await self._try_cancel(timeout=self.cancel_limit_s)
                with trio.move_on_after(_CANCEL_AGAIN_S):
                    is_done = await self._read_to_end(gen)
                    is_ended = True
        finally:
            if not is_ended or self._has_unread_results():
                logger.warning("connection.closed reason=cancel-not-answered")
                self.close_nowait()
                with suppress(psycopg.Error):
                    gen.close()  # otherwise it warns when it is collected
        return is_done

    async def _read_to_end(self, gen: PQGen[Any]) -> bool:
        is_done = False
        with suppress(psycopg.Error):  # usually the QueryCanceled that we asked for
            await self._run(gen)
            is_done = True
        with suppress(psycopg.Error):
            while self._has_unread_results():
                await self.lock.make_way()
                await self._skip_result()
        return is_done

    def _is_in_pipeline(self) -> bool:
        return self.pgconn.pipeline_status != PipelineStatus.OFF

    def _has_unread_results(self) -> bool:
        is_active = self.pgconn.transaction_status == TransactionStatus.ACTIVE
        return is_active and not self._is_in_pipeline()

    async def _skip_result(self) -> None:
        result = await self._run(generators.fetch(self.pgconn))
        match result and result.status:
            case ExecStatus.COPY_IN:
                await self._run(generators.copy_end(self.pgconn, b"cancelled"))
            case ExecStatus.COPY_OUT:
                copying: object = b""
                while isinstance(copying, (bytes, memoryview)):
                    copying = await self._run(generators.copy_from(self.pgconn))


def _nothing() -> PQGen[None]:
    yield from ()


def _warn_of_gssapi(pgconn: PGconn, params: ConnDict) -> None:
    """Warn, as psycopg does, when only libpq's default has chosen GSSAPI encryption."""
    if not (capabilities.has_used_gssapi() and pgconn.used_gssapi):
        return
    # Conninfo reads the environment too.
    [mode] = [each for each in Conninfo.get_defaults() if each.keyword == b"gssencmode"]
    if "gssencmode" not in params and mode.val == mode.compiled:
        warnings.warn(
            "the connection is encrypted by GSSAPI, because libpq prefers that by"
            " default; set 'gssencmode' or PGGSSENCMODE to choose it yourself",
            RuntimeWarning,
            stacklevel=4,
        )


def _summary(failures: Sequence[tuple[str, psycopg.Error]]) -> psycopg.Error:
    """Return the only failure, or an error of the last one's type that lists all."""
    last = failures[-1][1]
    if len(failures) == 1:
        return last
    lines = [str(last), "Multiple connection attempts failed. All failures were:"]
    lines += [f"- {where}: {error}" for where, error in failures]
    summary = type(last)("\n".join(lines), pgconn=last.pgconn)
    summary.sqlstate = last.sqlstate
    return summary


# Waiting.


async def _drive(
    gen: Generator[Wanted, int, RV], wait_for: Callable[[Wanted], Awaitable[int]]
) -> RV:
    """Run a generator from its present step to its end.

    Raises:
        psycopg.OperationalError: the socket was closed meanwhile, or the server sent
            other answers than psycopg expects.
    """
    try:
        wanted = next(gen)
        while True:
            wanted = gen.send(await wait_for(wanted))
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    except UnicodeError:
        raise  # of a value: psycopg encodes the rows of executemany on the way
    except ValueError as exc:
        # psycopg unpacks the answers that it expects.  After an error of the server,
        # PgBouncer adds one of its own.
        raise psycopg.OperationalError("the answers do not belong together") from exc
    except (OSError, trio.ClosedResourceError) as exc:
        raise psycopg.OperationalError("connection socket closed") from exc


async def _drive_connecting(gen: PQGenConn[RV]) -> RV:
    """Run a generator that names its socket at each step, because libpq may change it.

    The generator is always closed, and with it the socket of an interrupted attempt.
    """
    try:
        return await _drive(gen, lambda wanted: _wait_ready(*wanted))
    finally:
        gen.close()


async def _wait_ready(fileno: int, wanted: Wait) -> int:
    if wanted == Wait.R:
        await trio.lowlevel.wait_readable(fileno)
        return Ready.R
    if wanted == Wait.W:
        await trio.lowlevel.wait_writable(fileno)
        return Ready.W
    try:
        return await _wait_either(fileno)
    except BaseExceptionGroup as group:
        # Both halves belong to one wait; the caller does not expect an exception group.
        interruptions = group.split(Exception)[1]
        raise (interruptions or group).exceptions[0] from None


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
    found = dict(poller.poll(0)).get(fileno, 0)
    if found & select.POLLNVAL:
        raise OSError("the socket is closed")
    readable = Ready.R if found & select.POLLIN else Ready.NONE
    writable = Ready.W if found & select.POLLOUT else Ready.NONE
    # An error or a hang-up counts as ready: libpq finds the cause.
    return readable | writable or (int(wanted) if found else 0)
