"""Ctrl-C at each point where an operation of a connection waits.

As with cancellations, the operation is run again and again, interrupted where it waits
for the first time, then for the second, and so on.  The signal is a real one, and the
operation runs in the main task, where Trio raises `KeyboardInterrupt`.  Each time the
connection has to be in order or closed, and in the end no file descriptor left over.
"""

from __future__ import annotations

import gc
import signal

import pytest
import trio

from greeks_trio.postgres.connect import connection_arguments
from greeks_trio.postgres.connection import TrioConnection
from tests.database.test_connection_cancellation import (
    MOST,
    OPERATIONS,
    CancelsAtStep,
    assert_in_order,
    connected,
    open_files,
    pipeline_in_transaction,
    table,
)

__all__ = ["table"]


async def interrupted_at(step, operation):
    """Run the operation; return whether Ctrl-C came where it waits so often."""
    instrument = CancelsAtStep(step, trio.CancelScope())
    instrument.on_fire = lambda: signal.raise_signal(signal.SIGINT)
    trio.lowlevel.add_instrument(instrument)
    try:
        await operation()
    except KeyboardInterrupt:
        assert instrument.has_fired
    else:
        # Not even at the end of a block may it get lost.
        try:
            await trio.lowlevel.checkpoint()
        except KeyboardInterrupt:
            pass
        else:
            assert not instrument.has_fired
    finally:
        trio.lowlevel.remove_instrument(instrument)
    return instrument.has_fired


async def interrupt_everywhere(config, operation):
    """Return how often it was interrupted, and how often that closed the connection."""
    step = closed = 0
    fired = True
    while fired and step < MOST:
        step += 1
        async with connected(config) as connection:
            fired = await interrupted_at(step, lambda: operation(connection))
            if connection.closed:
                closed += 1
            else:
                await assert_in_order(connection)
    assert not fired
    return step - 1, closed


# psycopg has no time to note that a server's cursor is closed, and says so.
@pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")
@pytest.mark.parametrize("operation", OPERATIONS)
def test_ctrl_c_wherever_it_waits_leaves_the_connection_in_order(
    database, table, operation
):
    before = open_files()

    interrupted, closed = trio.run(interrupt_everywhere, database, operation)
    gc.collect()

    assert interrupted > closed
    # A pipeline inside another one that was just entered is never left.
    assert closed == 0 or operation is pipeline_in_transaction
    assert open_files() == before


async def interrupt_connecting(config, autocommit):
    """Return how often connecting was interrupted."""
    arguments = connection_arguments(config)
    await trio.to_thread.run_sync(lambda: None)  # has files of its own that it keeps
    before = open_files()

    async def operation():
        connection = await TrioConnection.connect(**arguments, autocommit=autocommit)
        connection.close_nowait()

    step, fired = 0, True
    while fired and step < MOST:
        step += 1
        fired = await interrupted_at(step, operation)
        assert open_files() == before
    return step - 1


@pytest.mark.parametrize("autocommit", [False, True])
def test_ctrl_c_while_it_connects_leaves_nothing_open(database, autocommit):
    assert trio.run(interrupt_connecting, database, autocommit) > 2


class InterruptedAtTheEnd(TrioConnection):
    """Ctrl-C comes when it is connected already, and not yet handed over."""

    async def set_autocommit(self, value):
        type(self).made = self
        raise KeyboardInterrupt


async def test_ctrl_c_before_a_connection_is_handed_over_closes_it(database):
    arguments = connection_arguments(database)
    with pytest.raises(KeyboardInterrupt):
        await InterruptedAtTheEnd.connect(**arguments, autocommit=True)

    assert InterruptedAtTheEnd.made.closed
