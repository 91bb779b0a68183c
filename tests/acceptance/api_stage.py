"""A running service with its HTTP interface, for tests from outside."""

from __future__ import annotations

from contextlib import asynccontextmanager

import httpx2

TOKEN = "known-only-to-this-test-9f2c"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
SMALL = ("--contracts", "20", "--rate", "60")


@asynccontextmanager
async def serving(stage, **changes):
    """Yield (service, client with the token) when both brokers have rows."""
    async with stage.simulate(*SMALL) as simulators:
        endpoints = await simulators.read_json()
        stage.configure(endpoints, GREEKS_API_TOKEN=TOKEN, **changes)
        async with stage.serve() as service:
            line = await service.wait_line("http.listening")
            url = line.rpartition("url=")[2]
            await service.wait_line("writer.connected")
            await stage.wait_rows("ibkr", 20)
            await stage.wait_rows("tastytrade", 20)
            async with httpx2.AsyncClient(
                base_url=url, headers=BEARER, trust_env=False, timeout=30
            ) as client:
                yield service, client
            assert await service.stop() == 0
