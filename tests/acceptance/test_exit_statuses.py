"""The exit status of each command, and the message that explains it."""

from __future__ import annotations

import socket

import pytest

from tests.fix_postgres import connect_trio
from tests.fix_processes import fetch, run_ingest, wait_until

pytestmark = pytest.mark.timeout(120)

SMALL = ("--contracts", "20", "--rate", "60")


async def test_wrong_settings_are_reported_all_at_once(tmp_path):
    (tmp_path / ".env").write_text(
        "POSTGRES_PORT=many\nPOSTGRES_PASSWORD=s3cret\nTASTYTRADE_ENABLED=true\n"
        "IBKR_ENABLED=perhaps\nGREEKS_HTTP_BIND=0.0.0.0:8080\n"
    )
    async with run_ingest(cwd=tmp_path) as service:
        assert await service.wait_exit() == 2

    said = service.transcript()
    for name in (
        "POSTGRES_PORT",
        "TT_SECRET",
        "TT_REFRESH",
        "IBKR_ENABLED",
        "GREEKS_API_TOKEN",
    ):
        assert name in said
    assert "s3cret" not in said
    assert "Traceback" not in said


async def test_a_refused_login_ends_the_service_only_without_another_broker(stage):
    async with stage.simulate(*SMALL) as simulators:
        endpoints = await simulators.read_json()
        stage.configure(endpoints, TT_REFRESH="wr0ng-token")
        async with stage.serve("--only", "tastytrade") as alone:
            assert await alone.wait_exit() == 3
        async with stage.serve() as service:
            await service.wait_line("feed.waits_for_operator broker=tastytrade")
            await service.wait_line("writer.connected")
            await stage.wait_rows("ibkr", 60)
            assert await service.stop() == 0

    for each in (alone, service):
        assert each.count("waits_for_operator") == 1
        assert "wr0ng-token" not in each.transcript()


async def test_starts_that_fail_are_explained_and_leave_no_gap_of_a_kill(stage):
    """A port in use, then a schema that does not fit, then a start that works."""
    only = ("--only", "tastytrade")
    async with stage.simulate(*only, *SMALL) as simulators:
        stage.configure(await simulators.read_json())
        async with stage.serve(*only) as service:
            await service.wait_line("writer.connected")
            await stage.wait_rows("tastytrade", 1)
            assert await service.stop() == 0
        with socket.create_server(("127.0.0.1", 0)) as taken:
            bind = f"127.0.0.1:{taken.getsockname()[1]}"
            async with stage.serve(*only, "--http", bind) as refused_port:
                assert await refused_port.wait_exit() == 2
        await execute(
            stage.database,
            "insert into schema_migrations (name, sha256)"
            " values ('9999_later_breaks_older', repeat('0', 64))",
        )
        async with stage.serve(*only) as refused_schema:
            assert await refused_schema.wait_exit() == 4
        async with run_ingest("migrate", cwd=stage.directory) as migrate:
            assert await migrate.wait_exit() == 4
        await execute(
            stage.database, "delete from schema_migrations where name ~ '^9999'"
        )
        async with stage.serve(*only) as service:
            await service.wait_line("feed.connected")
            await wait_until(
                stage.database,
                "select count(*) > 0 from feed_gaps where ended_at is not null",
            )
            assert await service.stop() == 0

    assert bind in refused_port.transcript()
    assert "9999_later_breaks_older" in refused_schema.transcript()
    for each in (refused_port, refused_schema, service):
        for words in ("Traceback", "journal_lost", "killed_before"):
            assert words not in each.transcript()
    reasons = await fetch(stage.database, "select distinct reason from feed_gaps")
    assert reasons == [("stopped",)]


async def execute(database, statement):
    async with await connect_trio(database) as connection:
        await connection.execute(statement)
