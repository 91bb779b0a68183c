"""One service of the fleet: its process is started, started again, and stopped."""

from __future__ import annotations

import logging
import signal
from datetime import datetime
from typing import Final, Literal, TypeAlias

import trio

from greeks_trio.api.server import EVERYWHERE
from greeks_trio.fleet.output import relay
from greeks_trio.fleet.plan import ServicePlan
from greeks_trio.fleet.process import ServiceProcess, in_words
from greeks_trio.spool.location import spool_directory
from greeks_trio.spool.lock import holder_of
from greeks_trio.waiting import Backoff, WakeUp, utc_now

logger = logging.getLogger(__name__)

State: TypeAlias = Literal["starting", "running", "waiting", "stopping", "stopped"]

# After these a person has to act, so the next attempt comes late.
NEED_A_PERSON: Final = frozenset({2, 3, 4})
# A process that has run for so long works.
_RAN_WELL_S: Final = 60.0
# Beside GREEKS_DRAIN_TIMEOUT_S: for the leftovers, and for the operating system.
_STOP_MARGIN_S: Final = 20.0
_LOCK_INTERVAL_S: Final = 0.5


class Member:
    """A service and its processes; `run` is its task.

    Attributes:
        plan: Its settings.
        url: The address of its HTTP interface.
        state: ``waiting`` for the next start, or for the process before.
        reason: Why it does not run, in words; empty while it runs.
        changed_at: Since when it is in this state.
        restarts: How often it was started again.
        ended_at: When its last process ended.
        last_end: How its last process ended, in words.
        attempts: Counts the processes.
    """

    def __init__(self, plan: ServicePlan, port: int) -> None:
        self.plan = plan
        self.state: State = "starting"
        self.reason = "it has not started yet"
        self.changed_at = utc_now()
        self.restarts = 0
        self.ended_at: datetime | None = None
        self.last_end: str | None = None
        self.attempts = 0
        self.port = port
        host = EVERYWHERE.get(plan.http.host, plan.http.host)
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._process: ServiceProcess | None = None
        self._stop = trio.Event()
        self._retry_now = WakeUp()
        self._soon = Backoff(min_delay_s=1.0, max_delay_s=60.0)
        self._late = Backoff(min_delay_s=60.0, max_delay_s=900.0)

    @property
    def name(self) -> str:
        """The name of the service."""
        return self.plan.name

    @property
    def pid(self) -> int | None:
        """The present process, if there is one."""
        return None if self._process is None else self._process.pid

    @property
    def stop_limit_s(self) -> float:
        """Seconds that a stop may take before the process is killed."""
        return self.plan.config.pipeline.drain_timeout_s + _STOP_MARGIN_S

    def stop(self) -> None:
        """Let `run` stop the process and return."""
        self._stop.set()
        self._retry_now.wake()

    def hang_up(self) -> None:
        """Let the service read its settings again; a service that waits starts at once."""
        if self._process is not None:
            self._process.send(signal.SIGHUP)
        self._retry_now.wake()

    async def run(self) -> None:
        """Run the service until `stop`, or until cancelled; leaves no process behind."""
        while not self._stop.is_set():
            await self._wait_for_spool()
            if self._stop.is_set():
                break
            began_at = trio.current_time()
            try:
                process = ServiceProcess(self.plan.environment(self.port))
            except OSError as exc:  # no memory, or no file handle
                await self._wait_after(f"it cannot start: {exc.strerror}", self._soon)
                continue
            status = await self._follow(process)
            if self._stop.is_set():
                break
            if trio.current_time() - began_at >= _RAN_WELL_S:
                self._soon.reset()
                self._late.reset()
            delays = self._late if status in NEED_A_PERSON else self._soon
            await self._wait_after(in_words(status), delays)
            self.restarts += 1
        self._become("stopped", "it was stopped")
        logger.info(
            "fleet.stopped service=%s reason=%s",
            self.name,
            self.last_end or "not started",
        )

    def _become(self, state: State, reason: str = "") -> None:
        self.state, self.reason, self.changed_at = state, reason, utc_now()

    async def _wait_for_spool(self) -> None:
        """Wait until no other process has the spool, such as one of an earlier fleet."""
        directory = spool_directory(self.plan.config)
        told = ""
        while (holder := holder_of(directory)) and not self._stop.is_set():
            if told != holder:
                told = holder
                reason = f"process {holder} has its spool directory {directory}"
                self._become("waiting", f"{reason}; it starts when that one ends")
                logger.warning("fleet.waiting service=%s reason=%s", self.name, reason)
            with trio.move_on_after(_LOCK_INTERVAL_S):
                await self._stop.wait()

    async def _follow(self, process: ServiceProcess) -> int:
        """Pass on the log of a process until it ends; return its exit status."""
        self._process = process
        self.attempts += 1
        self._become("running")
        logger.info(
            "fleet.started service=%s pid=%d url=%s", self.name, process.pid, self.url
        )
        has_ended = False
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._stop_in_time, process, name="stop")
                await relay(self.name, process.output)
                nursery.cancel_scope.cancel()
            has_ended = True
        finally:
            if not has_ended:  # cancelled, because the fleet has a bug
                with trio.move_on_after(self.stop_limit_s, shield=True):
                    process.send(signal.SIGTERM)
                    await relay(self.name, process.output)
            self._process = None
            self.ended_at = utc_now()
            status = process.reap()
            self.last_end = in_words(status)
        return status

    async def _stop_in_time(self, process: ServiceProcess) -> None:
        """Stop the process when it is asked for, and kill it at the limit."""
        await self._stop.wait()
        self._become("stopping", "it is being stopped")
        logger.info("fleet.stopping service=%s pid=%d", self.name, process.pid)
        process.send(signal.SIGTERM)
        await trio.sleep(self.stop_limit_s)
        logger.error(
            "fleet.killed service=%s pid=%d reason=it did not stop within %g s",
            *(self.name, process.pid, self.stop_limit_s),
        )
        process.send(signal.SIGKILL)
        await trio.sleep_forever()

    async def _wait_after(self, reason: str, delays: Backoff) -> None:
        """Wait before the next start, which a SIGHUP brings forward."""
        delay_s = delays.next_delay()
        self._become("waiting", f"{reason}; it starts again by itself")
        logger.log(
            logging.ERROR if delays is self._late else logging.WARNING,
            "fleet.ended service=%s reason=%s next_start_s=%.1f",
            *(self.name, reason, delay_s),
        )
        with trio.move_on_after(delay_s):
            await self._retry_now.wait()
