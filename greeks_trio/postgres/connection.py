"""psycopg's asynchronous connection, waiting on Trio instead of asyncio.

How it works: psycopg writes each step of the protocol as a generator that yields what
it waits for ("this socket, readable"), and leaves the waiting to a small driver.
`trio_waiting` has drivers that wait with Trio.  `TrioConnection` overrides what of
`psycopg.AsyncConnection` touches the event loop: `connect`, `wait`, `cancel_safe`,
`close` and the lock.  All the rest, cursors of every kind, COPY, pipelines, prepared
statements, two-phase commit and notifications, is psycopg's own.

Cancellation is honoured: a cancelled operation is cancelled on the server too.  If the
server answers within `TrioConnection.cancel_limit_s` the connection is in order
afterwards, else it is closed; it is never left in the middle of an exchange.  What had
not begun when it was cancelled is not sent.  Whether a COMMIT under way was in time only
the database knows, as ever.

Discussion: asyncio cancels once, so psycopg's clean-up code can simply await; in a
cancelled Trio scope every wait is cancelled again.  Hence what is shielded and bounded
here: leaving a transaction or a pipeline, closing a server's cursor, and in `wait` the
end of an exchange that is under way.

Different from asyncio:

- `psycopg.copy.AsyncQueuedLibpqWriter` does not work: it starts an asyncio task.
- Fetching from a result that is in memory, and writing the rows of a COPY, are no
  checkpoints: those are psycopg's own coroutines.  COPY makes way every 5 ms.
- A task that uses the connection in the middle of using it, such as in a loop over
  `notifies`, gets a `RuntimeError` instead of waiting for itself for ever.
- Leaving the connection's block closes it even if the COMMIT fails or is cancelled.
- An `aclosing` is due around `notifies` and `stream`, as for Trio's generators at large.

There is no pool: one connection carries the writer, and reads, in threads anyway, use
`psycopg_pool`.

To take it elsewhere copy this module and `trio_waiting`, and mend the import between the
two; they import only the standard library, trio and psycopg.  Keep psycopg's minor
version pinned, because of these private names, and take the test of them along:

- ``errors._WaitTimeout``: what `wait` raises and psycopg's `notifies` expects.
- ``_adapters``: where `connect` puts those of its ``context``.
- ``_connect_gen``, ``_get_connection_params``: what subclasses of psycopg's override.
- ``_cancel_gen``, ``_should_cancel``: the request to cancel, and whether it makes sense.
- ``_try_cancel``: overridden, because psycopg's cursors and COPY call it.
- ``AsyncPipeline._enter_gen``, ``_exit_gen``, ``AsyncServerCursor._close_gen``: to know
  them in `wait`; see `_AT_ENTRY`.

Source: psycopg's ``connection_async.py``, ``waiting.py`` and ``generators.py``.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast

import psycopg
import trio
from psycopg import capabilities, generators
from psycopg.abc import AdaptContext, ConnDict, ConnParam, PQGen
from psycopg.adapt import AdaptersMap
from psycopg.conninfo import conninfo_attempts, make_conninfo, timeout_from_conninfo
from psycopg.errors import CancellationTimeout, ConnectionTimeout, _WaitTimeout
from psycopg.pq import Conninfo, ExecStatus, PipelineStatus, TransactionStatus
from psycopg.pq.abc import PGconn
from psycopg.rows import AsyncRowFactory, Row, tuple_row

from greeks_trio.postgres.trio_waiting import TurnLock, Turns, drive, drive_connecting

logger = logging.getLogger(__name__)

RV = TypeVar("RV")

_INTERRUPTIONS: Final = (trio.Cancelled, KeyboardInterrupt, SystemExit)

# A server that is just compiling a query (PostgreSQL 15 with JIT was seen to do so) may
# lose the request to cancel it.  Seconds after which to ask again.
_CANCEL_AGAIN_S: Final = 0.25

# Once begun these are carried to their end, and that end is told: psycopg counts by it
# how deep it is in pipelines, and whether a server's cursor is closed.  The cancellation
# shows at the next checkpoint.  Those at the exit of a block are also begun after it.
_AT_ENTRY: Final = {psycopg.AsyncPipeline._enter_gen.__code__}
_AT_EXIT: Final = {
    psycopg.AsyncPipeline._exit_gen.__code__,
    psycopg.AsyncServerCursor._close_gen.__code__,
}


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
        self._turns = Turns()
        # psycopg says asyncio.Lock
        self.lock = TurnLock(self._turns)  # type: ignore[assignment]

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
            with trio.CancelScope(shield=True):  # nothing is sent, so it is quick
                await connection.set_autocommit(True)
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
                    connection = await drive_connecting(steps)
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
        """Close the connection; who waits on it gets an `OperationalError`.

        It is closed also when this is cancelled.
        """
        if not self.closed:
            trio.lowlevel.notify_closing(self.pgconn.socket)
        await super().close()
        await trio.lowlevel.checkpoint()

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
            await trio.lowlevel.checkpoint()
            return
        try:
            with trio.fail_after(timeout or float("inf")):
                if capabilities.has_cancel_safe():
                    await drive_connecting(self._cancel_gen())
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
        entered = self._undone_if_cancelled(transaction)
        if self._is_in_pipeline():
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
        has_begun = False
        try:
            await self._turns.make_way()
            has_begun = True
            if timeout is None:
                return await drive(gen, self.pgconn.socket, self._turns)
            with trio.move_on_after(timeout):
                return await self._drive_late(gen)
        except _INTERRUPTIONS as exc:
            is_done = False
            if self._has_to_end(gen, has_begun):
                with trio.move_on_after(self.cancel_limit_s, shield=True):
                    is_done = await self._end_operation(gen)
            if is_done and _is_at_a_border(gen) and isinstance(exc, trio.Cancelled):
                return cast(RV, None)  # as that generator does
            raise
        raise _WaitTimeout("wait timeout expired")

    async def _drive_late(self, gen: PQGen[RV]) -> RV:
        return await drive(gen, self.pgconn.socket, self._turns, look_first=True)

    def _has_to_end(self, gen: PQGen[Any], has_begun: bool) -> bool:
        """Return whether something is under way: the generator's steps, or a COPY.

        What had not begun is not made up for, except at the end of a block.
        """
        if not has_begun and _code(gen) not in _AT_EXIT:
            gen.close()
            return self._has_unread_results()
        return (
            self._is_in_pipeline() or _is_at_a_border(gen) or self._has_unread_results()
        )

    async def _end_operation(self, gen: PQGen[Any]) -> bool:
        """Cancel on the server, and read to the end of what it answers.

        Closes the connection if that fails.  Returns whether the generator came to its
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
                    gen.close()  # or it complains when it is collected
        return is_done

    async def _read_to_end(self, gen: PQGen[Any]) -> bool:
        is_done = False
        with suppress(psycopg.Error):  # mostly QueryCanceled, as asked
            await drive(gen, self.pgconn.socket, self._turns)
            is_done = True
        with suppress(psycopg.Error):
            while self._has_unread_results():
                await self._turns.make_way()
                await self._skip_result()
        return is_done

    def _is_in_pipeline(self) -> bool:
        return self.pgconn.pipeline_status != PipelineStatus.OFF

    def _has_unread_results(self) -> bool:
        is_active = self.pgconn.transaction_status == TransactionStatus.ACTIVE
        return is_active and not self._is_in_pipeline()

    async def _skip_result(self) -> None:
        fileno = self.pgconn.socket
        result = await drive(generators.fetch(self.pgconn), fileno, self._turns)
        match result and result.status:
            case ExecStatus.COPY_IN:
                ending = generators.copy_end(self.pgconn, b"cancelled")
                await drive(ending, fileno, self._turns)
            case ExecStatus.COPY_OUT:
                copying: object = b""
                while isinstance(copying, (bytes, memoryview)):
                    step = generators.copy_from(self.pgconn)
                    copying = await drive(step, fileno, self._turns)


def _code(gen: PQGen[Any]) -> object:
    """Return what tells the generators of one function from all others."""
    return getattr(gen, "gi_code", None)


def _is_at_a_border(gen: PQGen[Any]) -> bool:
    return _code(gen) in _AT_ENTRY | _AT_EXIT


def _warn_of_gssapi(pgconn: PGconn, params: ConnDict) -> None:
    """Warn, as psycopg does, of an encryption that was chosen only by libpq's default."""
    if not (capabilities.has_used_gssapi() and pgconn.used_gssapi):
        return
    defaults = {each.keyword: each for each in Conninfo.get_defaults()}
    default = defaults[b"gssencmode"]
    if "gssencmode" not in params and default.val == default.compiled:
        warnings.warn(
            "the connection is encrypted by GSSAPI, because libpq prefers that by"
            " default; set 'gssencmode' or PGGSSENCMODE to say what is wanted",
            RuntimeWarning,
            stacklevel=4,
        )


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
