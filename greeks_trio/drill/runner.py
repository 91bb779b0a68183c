"""A drill from its first tick to its last: warm-up, faults, recovery, drain."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import httpx2
import msgspec
import psutil
import psycopg
import trio

from greeks_trio.config.settings import BROKERS
from greeks_trio.drill.environment import Environment
from greeks_trio.drill.faults import ACTS
from greeks_trio.drill.resources import ResourceSample, run_sampling
from greeks_trio.drill.schedule import KINDS, PlannedFault
from greeks_trio.drill.service_process import DrilledService
from greeks_trio.drill.summary import HappenedFault
from greeks_trio.errors import GreeksError, StoreUnavailable
from greeks_trio.postgres.connect import open_connection

# From the start to durable ticks of both brokers, on an empty database.
_WARM_UP_LIMIT_S: Final = 90.0
# A feed's longest silence, and the longest pause before it is connected again.
RECOVERY_LIMIT_S: Final = 180.0
# After the last fault the spool is replayed and both feeds flow.
_CALM_LIMIT_S: Final = 180.0
# The streams end within milliseconds of the brokers.
_END_OF_STREAM_LIMIT_S: Final = 20.0
_SAMPLE_S: Final = 0.5

# The loop runs in the server: there each statement sees the commits of others.
_WAIT_FRESH: Final = """
do $wait$
begin
    for attempt in 1 .. {attempts} loop
        if (select count(distinct broker) = {brokers} from greek_snapshots
             where event_time > to_timestamp({after})) then return; end if;
        perform pg_sleep(0.1);
    end loop;
    raise exception 'no fresh tick of each broker is stored';
end $wait$
"""


class DrillFailed(GreeksError):
    """A part of the drill did not reach a state within its time."""


class DrillRunner:
    """Runs a schedule of faults in an environment.

    Attributes:
        started_at: Start of the schedule, `time.monotonic`.
        faults: The faults that are over, in the order of their ends.
        resources: Samples of the time in which faults come.
    """

    def __init__(
        self, environment: Environment, tell: Callable[[HappenedFault, float], None]
    ) -> None:
        self.started_at = time.monotonic()
        self.faults: list[HappenedFault] = []
        self.resources: list[ResourceSample] = []
        self._environment = environment
        self._tell = tell

    async def run(self, schedule: Sequence[PlannedFault], *, sample_s: float) -> None:
        """Run the drill from warm-up to drain; then brokers and service have stopped.

        Args:
            schedule: The faults.
            sample_s: The time from one sample of the resources to the next.

        Raises:
            DrillFailed: ticks, feeds or the spool did not recover within their time.
            ProcessFailed: a process did not start, answer or end.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_memory, name="memory")
            await self._wait_flow()
            if (alerts := self._environment.alerts) is not None:
                nursery.start_soon(alerts.run, name="alerts")
            await self._make_faults(schedule, sample_s)
            await self._calm_down()
            nursery.cancel_scope.cancel()

    async def _wait_flow(self) -> None:
        with trio.move_on_after(_WARM_UP_LIMIT_S):
            for broker in BROKERS:
                await self._environment.observer.wait_fresh(broker, 0.0)
            return
        raise DrillFailed("no ticks of each broker became durable at the start")

    async def _make_faults(
        self, schedule: Sequence[PlannedFault], sample_s: float
    ) -> None:
        """Start each fault at its time; return when all has recovered from the last."""
        self.started_at = time.monotonic()
        begin = trio.current_time()
        sample = partial(run_sampling, interval_s=sample_s)
        async with trio.open_nursery() as sampling:
            sampling.start_soon(sample, self._environment, self.resources)
            async with trio.open_nursery() as nursery:
                for plan in schedule:
                    await trio.sleep_until(begin + plan.at_s)
                    nursery.start_soon(self._make_fault, plan, name=plan.kind)
            sampling.cancel_scope.cancel()

    async def _make_fault(self, plan: PlannedFault) -> None:
        async with ACTS[plan.kind](self._environment, plan) as since:
            began_at = since or time.monotonic()
            flowing = self._environment.observer.flowing()
            await trio.sleep(plan.seconds)
        fault = HappenedFault(plan, began_at, time.monotonic())
        fault.interrupted = tuple(
            each
            for each in KINDS[plan.kind].interrupts
            if each in flowing and plan.broker in (None, each)
        )
        self.faults.append(fault)
        with trio.move_on_after(RECOVERY_LIMIT_S):
            recovered_at = await self._wait_recovery(fault)
            fault.recovery_s = max(0.0, recovered_at - fault.ended_at)
        self._tell(fault, self.started_at)

    async def _wait_recovery(self, fault: HappenedFault) -> float:
        observer, plan = self._environment.observer, fault.plan
        if KINDS[plan.kind].recovery == "commit":
            return await observer.wait_commit(fault.ended_at)
        hit = BROKERS if plan.broker is None else (plan.broker,)
        return max([await observer.wait_fresh(each, fault.ended_at) for each in hit])

    async def _calm_down(self) -> None:
        """Wait until all has recovered, then stop the brokers and drain the services."""
        await self._wait_stored()
        await self._wait_alerts()
        await self._wait_status(_is_settled, "the spool is not empty", _CALM_LIMIT_S)
        await self._environment.brokers.stop()
        await self._wait_status(
            _is_over, "the streams have ended, not the feeds", _END_OF_STREAM_LIMIT_S
        )
        for service in self._environment.services:
            await service.stop()

    async def _wait_alerts(self) -> None:
        """Wait until every alert has been told."""
        if self._environment.alerts is None:
            return
        with trio.move_on_after(_CALM_LIMIT_S):
            await self._environment.alerts.end()
            return
        raise DrillFailed("an alert was not recorded, or not delivered")

    async def _wait_stored(self) -> None:
        """Wait until a tick of each broker that was sent from now on is in the table."""
        query = _WAIT_FRESH.format(
            attempts=round(_CALM_LIMIT_S * 10), brokers=len(BROKERS), after=time.time()
        )
        try:
            async with open_connection(self._environment.postgres.config) as connection:
                with trio.fail_after(_CALM_LIMIT_S + 10.0):
                    await connection.execute(query.encode())
        except (psycopg.Error, StoreUnavailable) as exc:
            raise DrillFailed(f"after the last fault: {exc}") from exc

    async def _wait_status(
        self, condition: Callable[[dict[str, Any]], bool], problem: str, limit_s: float
    ) -> None:
        """Read the status of each service until the condition is true of it."""
        for service in self._environment.services:
            await _wait_status(service, condition, problem, limit_s)

    async def _watch_memory(self) -> None:
        """Record the peak memory of each service, until cancelled."""
        while True:
            for service in self._environment.services:
                with suppress(psutil.NoSuchProcess):
                    if service.pid is not None:
                        rss = psutil.Process(service.pid).memory_info().rss
                        service.peak_rss = max(service.peak_rss, rss)
            await trio.sleep(_SAMPLE_S)


async def _wait_status(
    service: DrilledService,
    condition: Callable[[dict[str, Any]], bool],
    problem: str,
    limit_s: float,
) -> None:
    await service.wait_started()
    url = f"http://127.0.0.1:{service.http_port}/v1/streaming/status"
    status: dict[str, Any] = {}
    with trio.move_on_after(limit_s):
        async with httpx2.AsyncClient(timeout=limit_s) as client:
            while True:
                with suppress(httpx2.HTTPError, msgspec.DecodeError):
                    status = msgspec.json.decode((await client.get(url)).content)
                    if condition(status):
                        return
                await trio.sleep(_SAMPLE_S)  # HTTP has no notification
    raise DrillFailed(f"{problem}: {msgspec.json.encode(status).decode()}")


def _is_settled(status: dict[str, Any]) -> bool:
    return not (
        status["spool"]["rows"]
        or status["writer"]["backlog"]
        or status["writer"]["journal_waiting"]
    )


def _is_over(status: dict[str, Any]) -> bool:
    return all(each["status"] == "disconnected" for each in status["sessions"])
