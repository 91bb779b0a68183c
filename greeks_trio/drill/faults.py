"""The faults of the environment: one context manager for each kind.

It begins the fault, runs the block for the duration of the fault, and ends it.  Faults of
one part of the environment take turns; faults of different parts may overlap.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from types import MappingProxyType
from typing import Final

import trio

from greeks_trio.drill.environment import Environment
from greeks_trio.drill.faults_database import DATABASE_ACTS, Act
from greeks_trio.drill.faults_machine import MACHINE_ACTS
from greeks_trio.drill.faults_restore import CHANGING_ACTS
from greeks_trio.drill.faults_standby import STANDBY_ACTS
from greeks_trio.drill.faults_two import TWO_ACTS
from greeks_trio.drill.proxy import Proxy
from greeks_trio.drill.schedule import PlannedFault
from greeks_trio.simulators.registry import SIMULATORS

# From room on the disk to ticks that are durable there.
_DISK_LIMIT_S: Final = 30.0


@asynccontextmanager
async def _kill_service(
    environment: Environment, _: PlannedFault
) -> AsyncIterator[None]:
    async with environment.service.turn:
        await environment.service.kill()
        yield
        environment.service.start()


@asynccontextmanager
async def _stop_service(
    environment: Environment, _: PlannedFault
) -> AsyncIterator[float]:
    async with environment.service.turn:
        asked_at = time.monotonic()
        await environment.service.stop()
        yield asked_at
        environment.service.start()


@asynccontextmanager
async def _cut(link: Proxy) -> AsyncIterator[None]:
    with _refusing(link):
        yield


@contextmanager
def _refusing(link: Proxy) -> Iterator[None]:
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
    return lambda environment, _: act(environment.database_link)


def _on_broker(
    act: Callable[[Proxy], AbstractAsyncContextManager[None]],
) -> Act:
    def on_link(
        environment: Environment, fault: PlannedFault
    ) -> AbstractAsyncContextManager[None]:
        assert fault.broker is not None  # noqa: S101
        return act(environment.broker_links[fault.broker])

    return on_link


@asynccontextmanager
async def _at_broker(
    environment: Environment, fault: PlannedFault
) -> AsyncIterator[None]:
    """Trigger a fault of the simulated broker itself."""
    assert fault.broker is not None  # noqa: S101
    takes_seconds = SIMULATORS[fault.broker].faults[fault.kind].default is not None
    argument = f":{fault.seconds:g}" if takes_seconds else ""
    await environment.brokers.make_fault(f"{fault.broker}:{fault.kind}{argument}")
    yield


@asynccontextmanager
async def _step_clock(
    environment: Environment, fault: PlannedFault
) -> AsyncIterator[None]:
    environment.service.step_clock(fault.value)
    yield


@asynccontextmanager
async def _full_disk(
    environment: Environment, fault: PlannedFault
) -> AsyncIterator[None]:
    """Let no file of the service grow while it has no database either.

    Ticks of this time are in memory only, and a SIGKILL would lose them.  So the service
    is not killed until its disk takes ticks again.
    """
    async with environment.service.turn:
        await environment.service.wait_started()
        with _refusing(environment.database_link):
            with environment.service.file_size_limited(round(fault.value * 1_000)):
                yield
            with trio.move_on_after(_DISK_LIMIT_S):
                await environment.observer.wait_durable(time.monotonic())


ACTS: Final[Mapping[str, Act]] = MappingProxyType(
    {
        "kill-service": _kill_service,
        "stop-service": _stop_service,
        "cut-database": _on_database(_cut),
        "half-open-database": _on_database(_half_open),
        "cut-broker": _on_broker(_cut),
        "half-open-broker": _on_broker(_half_open),
        "full-disk": _full_disk,
        "clock-step": _step_clock,
        **DATABASE_ACTS,
        **CHANGING_ACTS,
        **MACHINE_ACTS,
        **STANDBY_ACTS,
        **TWO_ACTS,
        **dict.fromkeys(
            (
                *("drop", "silent", "garbage", "bad-utf8", "duplicate", "reorder"),
                *("nan", "http-503", "close-1012", "expire-session"),
            ),
            _at_broker,
        ),
    }
)
