"""The fleet: starts, watches and stops all services, and reads its file again."""

from __future__ import annotations

import logging
import math
import socket
from collections.abc import Callable
from functools import partial

import trio

from greeks_trio.api.server import bind, run_http
from greeks_trio.config.report import needs_restart
from greeks_trio.config.settings import HttpConfig
from greeks_trio.errors import ConfigError
from greeks_trio.fleet.member import Member
from greeks_trio.fleet.plan import FleetPlan, ServicePlan
from greeks_trio.fleet.ports import Ports
from greeks_trio.fleet.routes import make_router
from greeks_trio.fleet.summary import fleet_status
from greeks_trio.fleet.views import run_fleet_views
from greeks_trio.fleet.watch import ServiceWatch
from greeks_trio.monitoring.systemd import Notifier, run_systemd_notify
from greeks_trio.signals import run_on_hangup, run_stop_on_signal
from greeks_trio.waiting import utc_now

logger = logging.getLogger(__name__)

PAGES = {"/": "fleet.html", "/docs": "docs.html"}


async def run_fleet(plan: FleetPlan, load: Callable[[], FleetPlan]) -> int:
    """Run every service until SIGTERM or SIGINT, and return the exit status.

    Args:
        plan: The plan to start with.
        load: Returns the present plan; called at each SIGHUP.

    Raises:
        ConfigError: the address of the fleet cannot be used.
    """
    notifier, stop = Notifier(), trio.Event()
    async with trio.open_nursery() as background:
        await background.start(run_stop_on_signal, stop)
        async with trio.open_nursery() as services:
            fleet = Fleet(plan, load, services)
            http = partial(run_http, open_socket=_bind, pages=PAGES)
            await background.start(http, plan.http, [make_router(fleet.watches)])
            await background.start(run_on_hangup, fleet.reload)
            fleet.start()
            background.start_soon(
                run_systemd_notify,
                notifier,
                fleet.in_words,
                lambda: False,
                stop,
                name="systemd",
            )
            background.start_soon(
                run_fleet_views, lambda: fleet.plan, fleet.is_answering, name="views"
            )
            await stop.wait()
            fleet.stop()
        fleet.close()
        background.cancel_scope.cancel()
    return 0


async def _bind(config: HttpConfig) -> socket.socket:
    try:
        return await bind(config)
    except ConfigError as exc:
        remedy = "Set GREEKS_HTTP_BIND in [fleet] to another address."
        raise ConfigError(
            [
                f"the fleet: {each.partition(' Choose')[0]} {remedy}"
                for each in exc.problems
            ]
        ) from exc


class Fleet:
    """The services that run, by their names.

    Args:
        plan: The plan to start with.
        load: Returns the present plan.
        nursery: Runs the services; it ends when each has stopped.

    Attributes:
        plan: The plan in force.
    """

    def __init__(
        self, plan: FleetPlan, load: Callable[[], FleetPlan], nursery: trio.Nursery
    ) -> None:
        self.plan = plan
        self._load = load
        self._nursery = nursery
        self._ports = Ports()
        self._running: dict[str, ServiceWatch] = {}
        self._is_stopping = False

    def watches(self) -> list[ServiceWatch]:
        """Return the present services in the order of the file."""
        place = list(self.plan.services).index
        return sorted(
            self._running.values(),
            key=lambda each: (
                place(each.member.name)
                if each.member.name in self.plan.services
                else math.inf
            ),
        )

    def is_answering(self, name: str) -> bool:
        """Return whether a service answers."""
        watch = self._running.get(name)
        return watch is not None and watch.is_answering

    def in_words(self) -> str:
        """Return the state of all services in one line."""
        summary = fleet_status(self._running.values(), utc_now())["summary"]
        not_ready = ", ".join(summary["not_ready"])
        text = f"{summary['ready']} of {summary['services']} services are ready"
        return f"{text}; not ready: {not_ready}" if not_ready else text

    def start(self) -> None:
        """Start every service of the plan that does not run."""
        for name, plan in self.plan.services.items():
            if name not in self._running:
                self._start(plan)

    def stop(self) -> None:
        """Stop every service."""
        self._is_stopping = True
        for each in self._running.values():
            each.member.stop()

    def close(self) -> None:
        """Give the ports back."""
        self._ports.close()

    def reload(self) -> None:
        """Read the file again: start new services, stop removed ones, restart changed ones.

        Every other service reads its own settings again.
        """
        if self._is_stopping:
            return
        try:
            plan = self._load()
        except ConfigError as exc:
            for problem in exc.problems:
                logger.error("config.rejected problem=%s", problem)
            return
        for warning in plan.warnings:
            logger.warning("config.doubtful %s", warning)
        for name in needs_restart(self.plan.config, plan.config):
            logger.warning("config.needs_restart name=%s of=the fleet", name)
        self.plan = plan
        for name, watch in self._running.items():
            self._apply(watch.member, plan.services.get(name))
        self.start()

    def _apply(self, member: Member, plan: ServicePlan | None) -> None:
        if plan is None:
            logger.info("fleet.removed service=%s", member.name)
            member.stop()
        elif _needs_new_process(member.plan, plan):
            logger.info("fleet.changed service=%s", member.name)
            member.stop()
        else:
            member.hang_up()

    def _start(self, plan: ServicePlan) -> None:
        member = Member(plan, self._ports.port_of(plan))
        watch = self._running[plan.name] = ServiceWatch(member)
        self._nursery.start_soon(self._run, watch, name=plan.name)

    async def _run(self, watch: ServiceWatch) -> None:
        """Run a service until it is stopped; then start it anew if the file still has it."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.run, name="watch")
            await watch.member.run()
            nursery.cancel_scope.cancel()
        del self._running[watch.member.name]
        if not self._is_stopping:
            self.start()


def _needs_new_process(old: ServicePlan, new: ServicePlan) -> bool:
    """Return whether SIGHUP is not enough for the change of a service."""
    is_same = (old.variables, old.env_file) == (new.variables, new.env_file)
    return not is_same or bool(needs_restart(old.config, new.config))
