"""The faults in which a standby takes over; see `greeks_trio.drill.faults`.

Each begins with a standby that follows, and leaves a primary that works alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Final

import trio

from greeks_trio.drill.environment import Environment
from greeks_trio.drill.faults_database import TERMINATE, Act, execute, superuser
from greeks_trio.drill.schedule import PlannedFault


@asynccontextmanager
async def _failover(environment: Environment, _: PlannedFault) -> AsyncIterator[None]:
    """Kill the primary; the synchronous standby has every commit."""
    servers = environment.servers
    async with environment.database_turn:
        await servers.follow(is_synchronous=True)
        await servers.primary.kill()
        yield
        await servers.fail_over()


@asynccontextmanager
async def _standby_lag(
    environment: Environment, fault: PlannedFault
) -> AsyncIterator[None]:
    """Promote a standby that lacks the last seconds: acknowledged rows are gone."""
    servers = environment.servers
    async with environment.database_turn:
        await servers.follow(is_synchronous=False)
        await servers.standby.stop()
        await trio.sleep(fault.value)
        await servers.primary.kill()
        yield
        await servers.standby.start()
        await servers.fail_over()


@asynccontextmanager
async def _old_primary_returns(
    environment: Environment, _: PlannedFault
) -> AsyncIterator[None]:
    """Bring the old primary back as a standby, and let the service connect again."""
    servers = environment.servers
    async with environment.database_turn:
        await servers.follow(is_synchronous=True)
        await servers.primary.stop()
        yield
        await servers.fail_over()
        await servers.follow(is_synchronous=True)
        async with superuser(environment) as connection:
            await execute(connection, TERMINATE)


STANDBY_ACTS: Final[Mapping[str, Act]] = MappingProxyType(
    {
        "failover": _failover,
        "standby-lag": _standby_lag,
        "old-primary-returns": _old_primary_returns,
    }
)
