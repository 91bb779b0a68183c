"""The faults of the machine under the service: see `greeks_trio.drill.faults`.

They act on its process: it stands still, it gets no file, no memory, no reader of its log,
too many signals, or a signal in the middle of its start.
"""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from types import MappingProxyType
from typing import Final

import psutil
import trio

from greeks_trio.drill.environment import Environment
from greeks_trio.drill.faults_database import Act
from greeks_trio.drill.schedule import PlannedFault

_HANGUPS: Final = 200


@asynccontextmanager
async def _suspend(environment: Environment, _: PlannedFault) -> AsyncIterator[None]:
    service = environment.service
    async with service.turn:
        await service.wait_started()
        with service.paused():
            yield


@asynccontextmanager
async def _few_files(
    environment: Environment, fault: PlannedFault
) -> AsyncIterator[None]:
    """Leave the process so many file descriptors more than it has."""
    service = environment.service
    async with service.turn:
        await service.wait_started()
        most = psutil.Process(service.pid).num_fds() + round(fault.value)
        with service.limited(resource.RLIMIT_NOFILE, most):
            yield


@asynccontextmanager
async def _little_memory(
    environment: Environment, fault: PlannedFault
) -> AsyncIterator[None]:
    """Leave the process so many MB of addresses more than it has: no new thread."""
    service = environment.service
    async with service.turn:
        await service.wait_started()
        used = psutil.Process(service.pid).memory_info().vms
        with service.limited(resource.RLIMIT_AS, used + round(fault.value * 1e6)):
            yield


@asynccontextmanager
async def _unread_log(environment: Environment, _: PlannedFault) -> AsyncIterator[None]:
    """Read nothing of its stderr, and let it log something."""
    service = environment.service
    async with service.turn:
        await service.wait_started()
        with service.log_unread():
            service.send(signal.SIGHUP)
            yield


@asynccontextmanager
async def _hangups(environment: Environment, _: PlannedFault) -> AsyncIterator[None]:
    async with environment.service.turn:
        await environment.service.wait_started()
        for _number in range(_HANGUPS):
            environment.service.send(signal.SIGHUP)
            await trio.sleep(0.005)
        yield


@asynccontextmanager
async def _stop_in_any_phase(
    environment: Environment, fault: PlannedFault
) -> AsyncIterator[float]:
    """Restart the service, and stop it again after a moment of its start."""
    service = environment.service
    async with service.turn:
        asked_at = time.monotonic()
        await service.stop()
        service.start()
        await trio.sleep(fault.value)
        await service.stop_in_start()
        yield asked_at
        service.start()


@asynccontextmanager
async def _wrong_year(
    environment: Environment, fault: PlannedFault
) -> AsyncIterator[None]:
    year_s = 365 * 86_400.0
    async with environment.service.turn:
        await environment.service.wait_started()
        environment.service.step_clock(-year_s if fault.value < 0 else year_s)
        try:
            yield
        finally:
            with suppress(FileNotFoundError):
                environment.service.step_clock(0.0)


MACHINE_ACTS: Final[Mapping[str, Act]] = MappingProxyType(
    {
        "suspend-service": _suspend,
        "few-files": _few_files,
        "little-memory": _little_memory,
        "unread-log": _unread_log,
        "hangup-storm": _hangups,
        "stop-in-start": _stop_in_any_phase,
        "wrong-year": _wrong_year,
    }
)
