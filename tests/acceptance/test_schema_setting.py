"""A service with a schema of its own, beside the tables of another one."""

from __future__ import annotations

import httpx2

from greeks_trio.config.settings import BROKERS
from tests.fix_processes import fetch, run_ingest, wait_until

SCHEMA = "Desk 7"


async def test_a_service_works_in_the_schema_of_its_setting(stage):
    async with stage.simulate("--contracts", "10", "--rate", "50") as simulators:
        endpoints = await simulators.read_json()
        stage.configure(endpoints, GREEKS_DB_SCHEMA=SCHEMA)
        async with stage.serve() as service:
            url = (await service.wait_line("http.listening")).rpartition("url=")[2]
            await service.wait_line("writer.connected")
            for broker in BROKERS:
                await wait_until(
                    stage.database,
                    f"""exists (select from "{SCHEMA}".greek_snapshots
                        where broker = '{broker}' and delta is not null)""",
                )
            async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:
                answer = await client.get("/v1/risk/totals")
                assert answer.json()["items"], answer.text
            async with run_ingest("check", cwd=stage.directory) as check:
                assert await check.wait_exit() == 0
            assert await service.stop() == 0
    tables = await fetch(
        stage.database,
        "select count(*) from pg_tables where schemaname = 'public'",
    )
    assert tables == [(0,)]
