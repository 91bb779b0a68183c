"""The writer behind a proxy that hides the codes of errors inside a COPY, as Citus does."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest

from greeks_trio.drill.proxy import Proxy
from greeks_trio.errors import StoreUnavailable
from greeks_trio.pipeline.refused_rows import RefusedRows
from greeks_trio.postgres.tick_store import TickStore
from tests.factories import START, make_tick
from tests.fix_postgres import connect, connect_trio
from tests.snapshots import count, sessions

# More than the prepared INSERT takes, so that they go by COPY.
MANY = 12


class Quarantine:
    def __init__(self):
        self.rows = []

    async def add(self, tick, *, sqlstate, reason):
        self.rows.append((tick, sqlstate))


@pytest.fixture
async def like_citus(database, nursery):
    """The configuration of the database by way of the proxy."""
    server = (database.server.host, database.server.port)
    proxy = Proxy(lambda: server, like_citus=True)
    port = await nursery.start(proxy.run)
    return replace(database, hosts=("127.0.0.1",), ports=(port,), sslmode="disable")


@pytest.fixture
async def sink(like_citus):
    """A sink that has stored a tick: the next ones like it are certainly good."""
    async with TickStore(like_citus, today=START.date).open() as sink:
        await sink.write([make_tick(99)])
        yield sink


@pytest.fixture
def observer(database):
    with connect(database) as observer:
        yield observer


def ticks(number=MANY):
    return [make_tick(n) for n in range(1, number + 1)]


async def test_the_proxy_hides_the_codes_of_a_copy_and_no_others(like_citus, observer):
    observer.execute("create table t (n int constraint small check (n < 5))")
    async with await connect_trio(like_citus) as connection:
        for _ in range(2):
            with pytest.raises(psycopg.errors.InternalError_) as caught:
                async with connection.cursor().copy("copy t from stdin") as copy:
                    await copy.write("42\n")
            assert "small" in caught.value.diag.message_primary
            assert caught.value.diag.constraint_name is None
        with pytest.raises(psycopg.errors.CheckViolation):
            await connection.execute("insert into t values (42)")


async def test_duplicates_are_found(sink, observer):
    assert await sink.write(ticks()) == MANY
    assert await sink.write(ticks(MANY + 1)) == 1
    assert count(observer) == MANY + 2


@pytest.mark.parametrize(
    "bad",
    [{"broker": "No Word"}, {"delta": None, "theta": None}, {"source_payload": b"{"}],
    ids=["constraint", "no Greek", "no JSON"],
)
async def test_only_the_bad_row_goes_into_quarantine(sink, observer, bad):
    empty = {"gamma": None, "vega": None, "rho": None} if "delta" in bad else {}
    offered = [*ticks(), make_tick(50, **bad, **empty)]
    quarantine = Quarantine()

    outcome = await RefusedRows(quarantine).store(sink, offered, check_duplicates=False)

    [(tick, sqlstate)] = quarantine.rows
    assert tick is offered[-1]
    assert sqlstate in ("23514", "22P02")
    assert outcome.new == MANY
    assert count(observer) == MANY + 1


async def test_a_missing_partition_is_made(sink, observer):
    await sink.write(ticks())
    observer.execute("drop table greek_snapshots_2026_11")

    assert await sink.write(ticks()) == MANY
    assert count(observer) == MANY


async def test_a_lost_connection_is_an_outage_and_no_refusal(
    sink, like_citus, observer
):
    await sink.write(ticks())
    for pid in sessions(observer):
        observer.execute("select pg_terminate_backend(%s, 5000)", [pid])

    with pytest.raises(StoreUnavailable):
        await sink.write(ticks(MANY + 1))
    async with TickStore(like_citus, today=START.date).open() as sink:
        assert await sink.write(ticks(MANY + 1), check_duplicates=True) == 1


FAILS = """
create function fail() returns trigger language plpgsql as $$
begin
    if nextval('failures') <= {times} then
        raise exception '{message}' using errcode = 'XX000';
    end if;
    return new;
end $$;
create sequence failures;
create trigger fail before insert on greek_snapshots
    for each row execute function fail();
"""


async def test_a_lost_node_is_an_outage(sink, observer):
    message = "failure on connection marked as essential: 127.0.0.1:5432"
    observer.execute(FAILS.format(times=1000, message=message))

    with pytest.raises(StoreUnavailable):
        await sink.write(ticks())
    assert count(observer) == 1


async def test_a_healthy_row_is_stored_although_a_node_failed_in_another_language(
    sink, observer
):
    """Both attempts fail, and then the database takes rows again."""
    observer.execute(FAILS.format(times=2, message="Verbindung verloren"))
    quarantine = Quarantine()

    outcome = await RefusedRows(quarantine).store(
        sink, [make_tick(1)], check_duplicates=False
    )

    assert quarantine.rows == []
    assert outcome.new == 1


async def test_a_row_that_is_refused_without_a_code_goes_into_quarantine(
    sink, observer
):
    observer.execute(
        FAILS.replace(
            "nextval('failures') <= {times}", "new.underlying = 'BAD'"
        ).format(message="something on a node")
    )
    quarantine = Quarantine()

    outcome = await RefusedRows(quarantine).store(
        sink, [*ticks(), make_tick(50, underlying="BAD")], check_duplicates=False
    )

    assert [sqlstate for _, sqlstate in quarantine.rows] == ["XX000"]
    assert outcome.new == MANY
