"""What each kind of fault does to the world: one context manager a kind.

It begins the fault, gives the block the time for which it lasts, and ends it.  Faults of
one part of the world take turns; faults of different parts overlap as they come.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import MappingProxyType
from typing import Final, TypeAlias

from greeks_trio.drill.proxy import Proxy
from greeks_trio.drill.schedule import PlannedFault
from greeks_trio.drill.world import World

Act: TypeAlias = Callable[[World, PlannedFault], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def _kill_service(world: World, _: PlannedFault) -> AsyncIterator[None]:
    async with world.service.turn:
        await world.service.kill()
        yield
        world.service.start()


@asynccontextmanager
async def _stop_service(world: World, _: PlannedFault) -> AsyncIterator[None]:
    async with world.service.turn:
        await world.service.stop()
        yield
        world.service.start()


@asynccontextmanager
async def _kill_postgres(world: World, _: PlannedFault) -> AsyncIterator[None]:
    async with world.database_turn:
        await world.postgres.kill()
        yield
        await world.postgres.start()


@asynccontextmanager
async def _restart_postgres(world: World, _: PlannedFault) -> AsyncIterator[None]:
    async with world.database_turn:
        await world.postgres.stop()
        yield
        await world.postgres.start()


@asynccontextmanager
async def _freeze_postgres(world: World, _: PlannedFault) -> AsyncIterator[None]:
    async with world.database_turn:
        try:
            await world.postgres.freeze()
            yield
        finally:
            world.postgres.thaw()


@asynccontextmanager
async def _cut(link: Proxy) -> AsyncIterator[None]:
    link.refuse()
    try:
        yield
    finally:
        link.accept()


@asynccontextmanager
async def _half_open(link: Proxy) -> AsyncIterator[None]:
    link.go_deaf()
    try:
        yield
    finally:
        link.hear()


def _on_database(
    act: Callable[[Proxy], AbstractAsyncContextManager[None]],
) -> Act:
    return lambda world, _: act(world.database_link)


def _on_broker(
    act: Callable[[Proxy], AbstractAsyncContextManager[None]],
) -> Act:
    def on_link(world: World, fault: PlannedFault) -> AbstractAsyncContextManager[None]:
        assert fault.broker is not None  # noqa: S101
        return act(world.broker_links[fault.broker])

    return on_link


@asynccontextmanager
async def _at_broker(world: World, fault: PlannedFault) -> AsyncIterator[None]:
    """Let the simulated broker itself go wrong."""
    await world.brokers.make_fault(f"{fault.broker}:{fault.kind}:{fault.seconds:g}")
    yield


ACTS: Final[Mapping[str, Act]] = MappingProxyType(
    {
        "kill-service": _kill_service,
        "stop-service": _stop_service,
        "kill-postgres": _kill_postgres,
        "restart-postgres": _restart_postgres,
        "freeze-postgres": _freeze_postgres,
        "cut-database": _on_database(_cut),
        "half-open-database": _on_database(_half_open),
        "cut-broker": _on_broker(_cut),
        "half-open-broker": _on_broker(_half_open),
        "drop": _at_broker,
    }
)
