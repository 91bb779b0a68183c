"""Every way in which PostgreSQL can be away, at the level of stores and sinks.

Each test shows that the sink reports the outage in time and refuses further writes, and
that the same ticks are stored once afterwards.
"""

from __future__ import annotations

import os
import random
import resource
import signal
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import trio
from psycopg import sql

from greeks_trio.config.settings import Secret
from greeks_trio.errors import StoreUnavailable
from greeks_trio.postgres.embedded.restarts import open_restartable_server
from greeks_trio.postgres.failures import Trouble, trouble_of
from greeks_trio.postgres.tick_store import TickStore
from tests.factories import START, make_tick
from tests.fix_postgres import QUICK, apply_schema, connect
from tests.snapshots import count, insert_key_of, rows, sessions, wait_blocked

# Far more than an answer takes on a busy machine, and far less than a store waits.
WITHIN_S = 8.0

ONE, TWO, THREE = (make_tick(number) for number in (1, 2, 3))


def store_of(config, timeout_s=20.0):
    """Return a store on the day of the factories' ticks.

    By default it waits longer than a test allows, so that only an answer ends a wait.
    """
    return TickStore(replace(config, timeout_s=timeout_s), today=START.date)


@pytest.fixture
def store(database):
    """A store of the test's database."""
    return store_of(database)


@pytest.fixture
def observer(database):
    """A second connection: reads the table and acts as an administrator."""
    with connect(database) as observer:
        yield observer


@pytest.fixture
async def server(cluster_directory):
    """A separate server that the test may break, with nothing of an earlier test."""
    for leftover in cluster_directory.glob("postgres-18/postgresql.auto.conf"):
        leftover.unlink()
    async with open_restartable_server(cluster_directory, settings=QUICK) as server:
        with connect(server.config) as admin:
            admin.execute("drop schema public cascade; create schema public")
        apply_schema(server.config)
        yield server


async def fails(sink, ticks=(TWO,), **options):
    """Write the ticks and return the error; the sink is closed then."""
    started_at = trio.current_time()
    with pytest.raises(StoreUnavailable) as caught:
        await sink.write(list(ticks), **options)
    assert trio.current_time() - started_at < WITHIN_S
    with pytest.raises(StoreUnavailable):
        await sink.write(list(ticks))
    return caught.value.sqlstate


async def cannot_open(store):
    """Open a sink and return the error."""
    started_at = trio.current_time()
    with pytest.raises(StoreUnavailable) as caught:
        async with store.open():
            pass
    assert trio.current_time() - started_at < WITHIN_S
    return caught.value.sqlstate


async def assert_recovered(store, config):
    """Offer the failed ticks again, with a new one: each is stored once."""
    async with store.open() as sink:
        await sink.write([ONE, TWO], check_duplicates=True)
        assert await sink.write([THREE]) == 1
    with connect(config) as observer:
        assert rows(observer) == [ONE.record, TWO.record, THREE.record]


@contextmanager
def locked(observer, table="greek_snapshots"):
    """Lock the table, like an administrator who forgets a transaction."""
    with observer.transaction():
        observer.execute(f"lock table {table} in access exclusive mode")
        yield


# The server ends.


async def test_a_killed_server_is_noticed_at_once(server):
    store = store_of(server.config)
    async with store.open() as sink:
        await sink.write([ONE])
        await server.kill()

        await fails(sink)
    assert await cannot_open(store) is None

    await server.start()
    await assert_recovered(store, server.config)


async def test_a_server_killed_in_the_middle_of_a_write_has_stored_nothing(server):
    store = store_of(server.config, timeout_s=5)
    observer = connect(server.config)
    async with store.open() as sink, trio.open_nursery() as nursery:
        await sink.write([ONE])
        observer.execute("begin; lock table greek_snapshots")
        nursery.start_soon(fails, sink)
        await wait_blocked(observer)

        await server.kill()
    observer.close()

    await server.start()
    await assert_recovered(store, server.config)


async def test_a_server_that_is_shut_down_says_so(server):
    store = store_of(server.config)
    async with store.open() as sink:
        await sink.write([ONE])
        await server.stop()

        assert await fails(sink) == "57P01"
    assert await cannot_open(store) is None

    await server.start()
    await assert_recovered(store, server.config)


async def test_a_server_that_refuses_every_login_is_waited_for(
    server, cluster_directory
):
    """A shutdown that waits for its sessions to end by themselves."""
    store = store_of(server.config)
    async with store.open() as sink:
        await sink.write([ONE])
        shut_down_smartly(server.config, cluster_directory)

        assert await cannot_open(store) == "57P03"
        assert await sink.write([TWO]) == 1
    await server.stop()

    await server.start()
    await assert_recovered(store, server.config)


def shut_down_smartly(config, directory):
    """Tell the server to end with its last session, and return when it has heard."""
    pid = Path(directory, "postgres-18", "postmaster.pid").read_text().split()[0]
    os.kill(int(pid), signal.SIGTERM)
    while True:
        try:
            connect(config).close()
        except psycopg.OperationalError:
            return


async def test_a_frozen_server_is_given_up_in_time_and_its_rows_count_once(
    server,
):
    """It stores the rows that it has received, and the service sends them again."""
    store = store_of(server.config, timeout_s=1)
    async with store.open() as sink:
        await sink.write([ONE])
        await server.freeze()

        # One second, and as much again for an answer to the request to cancel.
        assert await fails(sink) is None
    assert await cannot_open(store) is None

    server.thaw()
    await assert_recovered(store, server.config)


async def test_a_terminated_session_is_noticed_at_once(store, database, observer):
    async with store.open() as sink:
        await sink.write([ONE])
        for pid in sessions(observer):
            observer.execute("select pg_terminate_backend(%s, 5000)", [pid])

        assert await fails(sink) == "57P01"

    await assert_recovered(store, database)


# The server runs and does not take the rows.


async def test_a_commit_that_hangs_and_takes_effect_later_counts_once(server):
    """It waits for a standby that does not exist: stored here, and not acknowledged."""
    store = store_of(server.config, timeout_s=1)
    with connect(server.config) as admin:
        async with store.open() as sink:
            await sink.write([ONE])
            set_for_all(admin, "synchronous_standby_names", "nobody")

            await fails(sink)
        async with store.open() as sink:  # and the slow path's own commit
            await fails(sink, check_duplicates=True)

        set_for_all(admin, "synchronous_standby_names", "")
    await assert_recovered(store, server.config)


async def test_a_server_that_becomes_read_only_is_left(server):
    store = store_of(server.config)
    with connect(server.config) as admin:
        admin.execute("set default_transaction_read_only = off")
        async with store.open() as sink:
            await sink.write([ONE])
            set_for_all(admin, "default_transaction_read_only", "on")

            assert await fails(sink) == "25006"
        # Connecting looks for another address that takes rows, and there is none.
        assert await cannot_open(store) is None

        set_for_all(admin, "default_transaction_read_only", "off")
    await assert_recovered(store, server.config)


def set_for_all(admin, name, value):
    """Change a setting of the running server, and return when sessions have it."""
    admin.execute(
        sql.SQL("alter system set {} = {}").format(sql.Identifier(name), value)
    )
    admin.execute("select pg_reload_conf()")
    with connect_like(admin) as another:
        while another.execute(f"show {name}").fetchone() != (value,):
            pass


def connect_like(connection):
    """Return another connection to the same database."""
    password = connection.info.password
    return psycopg.connect(connection.info.dsn, password=password, autocommit=True)


async def test_a_full_disk_is_a_fault_of_the_server_and_not_of_the_rows(
    server, cluster_directory
):
    """The table's file is on a device that is always full; no quota is needed."""
    store = store_of(server.config)
    with connect(server.config) as admin:
        async with store.open() as sink:
            await sink.write([ONE])
            admin.execute("truncate greek_snapshots")
            file = data_file(admin, cluster_directory, "greek_snapshots_2026_11")
    file.rename(file.with_suffix(".away"))
    file.symlink_to("/dev/full")

    async with store.open() as sink:
        assert await fails(sink, [ONE, TWO]) == "53100"
    async with store.open() as sink:
        assert await fails(sink, [ONE, TWO], check_duplicates=True) == "53100"

    file.unlink()
    file.with_suffix(".away").rename(file)
    await assert_recovered(store, server.config)


@pytest.mark.parametrize("check_duplicates", [False, True])
async def test_a_file_that_may_not_grow_is_a_fault_of_the_server_and_not_of_the_rows(
    server, check_duplicates
):
    """As with a quota: PostgreSQL has no code for it and calls it an internal error."""
    await server.stop()
    with file_size_limit(17 << 20):  # it needs 16 for a segment of its log
        await server.start()
    store = store_of(server.config, timeout_s=5)
    payload = b'"' + random.Random(1).randbytes(900).hex().encode() + b'"'
    batches = [
        [make_tick(1000 * batch + i, source_payload=payload) for i in range(1000)]
        for batch in range(10)
    ]

    async with store.open() as sink:
        for number, batch in enumerate(batches):
            try:
                await sink.write(batch, check_duplicates=check_duplicates)
            except StoreUnavailable as exc:
                refused = number, exc.sqlstate
                break
    assert refused == (8, "XX000")

    await server.stop()
    await server.start()
    async with store.open() as sink:
        assert await sink.write(batches[8], check_duplicates=True) == 1000


async def test_files_that_the_server_may_not_open_do_not_end_the_service(
    server, cluster_directory
):
    """A disk that became read-only: permission denied, although every role is right."""
    store = store_of(server.config, timeout_s=5)
    async with store.open() as sink:
        await sink.write([ONE])
    with connect(server.config) as admin:
        file = data_file(admin, cluster_directory, "schema_migrations")
        admin.execute("checkpoint")
    file.chmod(0o000)

    assert await cannot_open(store) == "42501"

    file.chmod(0o600)
    await assert_recovered(store, server.config)


@contextmanager
def file_size_limit(size):
    """Let processes that are started meanwhile make no larger files, in bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def data_file(admin, directory, table):
    """Return the file in which the server keeps the table's rows."""
    [(path,)] = admin.execute("select pg_relation_filepath(%s)", [table]).fetchall()
    return Path(directory, "postgres-18", path)


@pytest.mark.parametrize("check_duplicates", [False, True])
async def test_a_lock_on_the_table_is_reported_by_the_server_before_we_give_up(
    database, observer, check_duplicates
):
    store = store_of(database, timeout_s=3)
    async with store.open() as sink:
        await sink.write([ONE])
        with locked(observer):
            refused = await fails(sink, check_duplicates=check_duplicates)

    assert refused == "55P03"
    await assert_recovered(store, database)


async def test_a_lock_that_is_released_in_time_costs_nothing_but_time(
    store, database, observer
):
    async with store.open() as sink, trio.open_nursery() as nursery:
        await sink.write([ONE])
        with locked(observer):
            nursery.start_soon(sink.write, [TWO])
            await wait_blocked(observer)

    await assert_recovered(store, database)


async def test_a_write_that_an_administrator_cancels_is_offered_again(
    store, database, observer
):
    refused = []

    async def note_failure(sink):
        refused.append(await fails(sink))

    async with store.open() as sink, trio.open_nursery() as nursery:
        await sink.write([ONE])
        with locked(observer):
            nursery.start_soon(note_failure, sink)
            await wait_blocked(observer)
            for pid in sessions(observer):
                observer.execute("select pg_cancel_backend(%s)", [pid])

    assert refused == ["57014"]
    await assert_recovered(store, database)


# Roles.


@contextmanager
def a_role(database, observer, options=""):
    """Yield the database by way of a role of its own that owns the table."""
    name = f"role_of_{database.dbname}"
    observer.execute(f"create role {name} login password 'first' {options}")
    observer.execute(f"grant all on schema public to {name}")
    observer.execute(f"grant all on all tables in schema public to {name}")
    observer.execute(f"grant execute on function make_month(date) to {name}")
    observer.execute(f"alter table greek_snapshots owner to {name}")
    try:
        yield replace(database, user=name, password=Secret("first"))
    finally:
        observer.execute(f"reassign owned by {name} to current_user")
        observer.execute(f"drop owned by {name}")
        observer.execute(f"drop role {name}")


async def test_a_statement_timeout_of_the_role_does_not_count(database, observer):
    with a_role(database, observer) as config:
        observer.execute(f"alter role {config.user} set statement_timeout = '100ms'")
        store = store_of(config, timeout_s=5)
        async with store.open() as sink, trio.open_nursery() as nursery:
            await sink.write([ONE])
            with locked(observer):
                nursery.start_soon(sink.write, [TWO])
                await wait_blocked(observer)
                await trio.sleep(0.2)

        await assert_recovered(store, database)


SESSIONS_OF = "select count(*) from pg_stat_activity where usename = %s"


async def test_the_limit_of_connections_is_waited_out(database, observer):
    with a_role(database, observer, "connection limit 2") as config:
        store = store_of(config)
        async with store.open() as sink:
            await sink.write([ONE])
            async with store.open():
                assert await cannot_open(store) == "53300"
            # The server ends the session a moment after its connection is closed.
            for _ in range(500):
                sessions = observer.execute(SESSIONS_OF, [config.user]).fetchone()
                if sessions == (1,):
                    break
                await trio.sleep(0.01)
            # A new month needs a second connection, which this role may open; other ticks do
            # not.
            assert await sink.write([TWO]) == 1

        await assert_recovered(store, database)


async def test_a_month_that_needs_a_connection_too_many_is_not_the_ticks_fault(
    database, observer
):
    with a_role(database, observer, "connection limit 1") as config:
        async with store_of(config).open() as sink:
            assert await fails(sink) == "53300"


async def test_a_changed_password_ends_nothing_and_is_asked_for_by_the_next_login(
    database, observer
):
    with a_role(database, observer) as config:
        store = store_of(config)
        async with store.open() as sink:
            await sink.write([ONE])
            observer.execute(f"alter role {config.user} password 'second'")
            assert await sink.write([TWO]) == 1

        refused = await cannot_open(store)
        assert refused == "28P01"
        assert trouble_of(refused) is Trouble.OPERATOR

        store.reconfigure(replace(store._config, password=Secret("second")))
        await assert_recovered(store, database)


async def test_a_permission_that_is_gone_waits_for_a_person(database, observer):
    with a_role(database, observer) as config:
        store = store_of(config)
        async with store.open() as sink:
            await sink.write([ONE])
            observer.execute(f"revoke insert on greek_snapshots from {config.user}")

            refused = await fails(sink)
        assert refused == "42501"
        assert trouble_of(refused) is Trouble.OPERATOR

        observer.execute(f"grant insert on greek_snapshots to {config.user}")
        await assert_recovered(store, database)


# The network.


async def test_a_name_that_is_gone_is_given_up_in_time(store, database):
    async with store.open() as sink:
        await sink.write([ONE])
    here = store._config
    store.reconfigure(replace(here, hosts=("nowhere.invalid",)))

    assert await cannot_open(store) is None

    store.reconfigure(here)
    await assert_recovered(store, database)


async def test_a_server_that_accepts_and_says_nothing_is_given_up_in_time(
    proxy, database
):
    store = store_of(proxy.config, timeout_s=1)
    proxy.go_deaf()

    assert await cannot_open(store) is None

    proxy.hear_new_connections()
    await assert_recovered(store, database)


# A COMMIT was sent, and its answer is lost.

COPY_DONE = b"c\x00\x00\x00\x04"


@pytest.mark.parametrize(
    ("check_duplicates", "commit"),
    [(False, COPY_DONE), (True, b" on conflict (")],
)
async def test_a_lost_acknowledgement_stores_every_row_once(
    proxy, observer, check_duplicates, commit
):
    store = store_of(proxy.config, timeout_s=1)
    batch = [make_tick(number) for number in range(100)]
    async with store.open() as sink:
        await sink.write(batch[:10])
        proxy.lose_answer_to(commit)

        await fails(sink, batch[10:], check_duplicates=check_duplicates)
    assert count(observer) == 100  # it did take effect

    async with store.open() as sink:
        assert await sink.write(batch[10:], check_duplicates=True) == 0
    assert count(observer) == 100


# Several sinks at a time.


async def test_two_services_by_mistake_store_every_row_once(database, observer):
    """Overlapping batches in opposite orders, so that they deadlock now and then."""
    ticks = [make_tick(number) for number in range(600)]
    new = 0

    async def write(batches, check_duplicates):
        nonlocal new
        async with store_of(database, timeout_s=10).open() as sink:
            for batch in batches:
                stored = await sink.write(batch, check_duplicates=check_duplicates)
                new += stored

    parts = [ticks[start : start + 40] for start in range(0, 600, 20)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write, parts, False)
        nursery.start_soon(write, [part[::-1] for part in parts], False)
        nursery.start_soon(write, parts, True)

    assert new == 600
    assert rows(observer) == [tick.record for tick in ticks]


async def test_the_victim_of_a_deadlock_tries_again_at_once(database, observer):
    """The other one never looks for deadlocks, so the victim is ours."""
    new = []

    async def write(sink):
        new.append(await sink.write([TWO, ONE]))

    async with store_of(database, timeout_s=10).open() as sink:
        await sink.write([THREE])
        async with trio.open_nursery() as nursery:
            with observer.transaction():
                observer.execute("set local deadlock_timeout = '1h'")
                insert_key_of(observer, ONE)
                nursery.start_soon(write, sink)
                await wait_blocked(observer)
                await trio.to_thread.run_sync(insert_key_of, observer, TWO)

        assert await sink.write([make_tick(4)]) == 1
    assert new == [0]
    assert count(observer) == 4


async def lasting_sessions(observer, number):
    """Return the sessions of so many sinks; the one that made a partition may linger."""
    while True:
        if len(found := sessions(observer)) == number:
            return found
        await trio.lowlevel.checkpoint()


async def test_a_new_sink_ends_the_lost_session_and_no_other(proxy, observer):
    store = store_of(proxy.config, timeout_s=1)
    async with store.open() as writer:
        await writer.write([ONE])
        first = await lasting_sessions(observer, 1)
        async with store.open() as replayer:
            both = await lasting_sessions(observer, 2)
            proxy.go_deaf()
            await fails(replayer)
        assert sessions(observer) == both  # it has not heard of it

        proxy.hear_new_connections()
        async with store.open():
            assert sessions(observer) & both == first


async def test_a_lost_session_that_cannot_end_delays_the_next_sink_and_only_once(
    proxy, observer
):
    store = store_of(proxy.config, timeout_s=2)
    async with store.open() as sink:
        await sink.write([ONE])
        [lost] = await lasting_sessions(observer, 1)
        proxy.go_deaf()
        await fails(sink)
    proxy.hear_new_connections()
    with stopped(lost):
        async with store.open() as sink:
            assert await sink.write([TWO], check_duplicates=True) == 1
        assert lost in sessions(observer)

        started_at = trio.current_time()
        async with store.open():
            assert trio.current_time() - started_at < 0.8


@contextmanager
def stopped(pid):
    """Keep the process stopped by SIGSTOP."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


# Connecting while the table is busy.


async def test_a_sink_opens_at_once_however_busy_the_table_is(store, observer):
    """Partitions ahead are missing too, and another session makes them."""
    started_at = trio.current_time()

    with locked(observer):
        async with store.open() as sink:
            await sink.ping()

    # It would wait two seconds for them.
    assert trio.current_time() - started_at < 1.5


async def test_a_locked_list_of_migrations_is_waited_for_in_bounds(database, observer):
    store = store_of(database, timeout_s=3)
    with locked(observer, "schema_migrations"):
        assert await cannot_open(store) == "55P03"
