"""The faults of one of two services; see `greeks_trio.drill.faults`.

The other service has the same logins and the same database, and goes on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Final

from greeks_trio.drill.environment import Environment
from greeks_trio.drill.faults_database import Act
from greeks_trio.drill.schedule import PlannedFault
from greeks_trio.drill.service_process import DrilledService


@asynccontextmanager
async def _kill(environment: Environment, fault: PlannedFault) -> AsyncIterator[None]:
    """Kill a service, also in the middle of its start, and start it again."""
    service = _chosen(environment, fault)
    async with service.turn:
        await service.kill()
        yield
        service.start()


@asynccontextmanager
async def _pause(environment: Environment, fault: PlannedFault) -> AsyncIterator[None]:
    """Stop a service for longer than its lease lasts; the other one takes it over."""
    service = _chosen(environment, fault)
    async with service.turn:
        await service.wait_started()
        with service.paused():
            yield


def _chosen(environment: Environment, fault: PlannedFault) -> DrilledService:
    return environment.services[int(fault.value)]


TWO_ACTS: Final[Mapping[str, Act]] = MappingProxyType(
    {"kill-one-of-two": _kill, "pause-one-of-two": _pause}
)
