"""Keeps what is subscribed equal to what is wanted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import trio
from msgspec.structs import replace

from greeks_trio.brokers.ibkr.lines.plan import NOTHING, Plan
from greeks_trio.brokers.ibkr.lines.quiet import QuietLines
from greeks_trio.brokers.ibkr.lines.renewals import LineSchedule
from greeks_trio.brokers.ibkr.portfolio import PortfolioView
from greeks_trio.brokers.ibkr.shortfalls import Reporter
from greeks_trio.brokers.ibkr.ticks import FrameReader
from greeks_trio.brokers.ibkr.wire.events import (
    encode_subscribe,
    encode_unsubscribe,
)
from greeks_trio.feeds.contract_gaps import ContractGaps
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.model.contracts import Conid

# What no frame tells, such as a deadline or a silence, is looked for this often.
CHECK_INTERVAL_S: Final = 15.0
# Changes come in bursts, one frame each; a look at all contracts serves many of them.
_GATHER_S: Final = 0.05
# A line is passed on when it was held, and the next in turn has waited, for so long.
TURN_S: Final = 530.0
HELD_AT_LEAST_S: Final = 300.0


class SubscriptionSender:
    """Subscribes, renews, asks again, passes lines on, and reports.

    Attributes:
        view: What is wanted, with the plan that is in force.
    """

    def __init__(
        self,
        send: Callable[[str], Awaitable[None]],
        health: FeedHealth,
        reader: FrameReader,
        lines: LineSchedule,
        watch: QuietLines,
        gaps: ContractGaps,
    ) -> None:
        self._send = send
        self._health = health
        self._reader = reader
        self._lines = lines
        self._watch = watch
        self._reporter = Reporter(health, reader, lines, watch, gaps)
        self._to_drop: list[Conid] = []
        self._waiting_since: dict[Conid, float] = {}
        self.view = PortfolioView(NOTHING, 0)

    def apply(self, view: PortfolioView) -> None:
        """Take what is wanted; `run` sends the difference."""
        self.view = view
        self._apply_plan(view.plan)
        self._reader.changed.set()

    def trouble(self, about: str, words: str | None) -> None:
        """Show that something does not work, or with `None` that it does again."""
        if self._reporter.trouble(about, words):
            self._reader.changed.set()

    def ask_all_again(self) -> None:
        """Request every subscription again, now."""
        self._reader.is_restarted = True
        self._reader.changed.set()

    async def run(self) -> NoReturn:
        """Send what is due, and again whenever something changes or becomes due.

        Runs until cancelled.

        Raises:
            FeedInterrupted: the gateway takes no request.
        """
        while True:
            changed = self._reader.changed = trio.Event()
            await self._send_due()
            self._reporter.report(self.view, trio.current_time())
            check_at = trio.current_time() + CHECK_INTERVAL_S
            with trio.move_on_at(min(self._lines.next_due(), check_at)):
                await changed.wait()
                await trio.sleep(_GATHER_S)

    def _apply_plan(self, plan: Plan) -> None:
        now = trio.current_time()
        self._reader.options = plan.options
        for conid in self._lines.want(plan.lines, now):
            self._reader.forget(conid)
            self._watch.forget(conid)
            self._to_drop.append(conid)
        before = self._waiting_since
        self._waiting_since = {conid: before.get(conid, now) for conid in plan.waiting}

    async def _send_due(self) -> None:
        if self._reader.is_restarted:
            self._reader.is_restarted = False
            self._lines.request_all_again(trio.current_time())
        now = trio.current_time()
        for silent in self._watch.take_silent(now):
            self._health.count("subscription.silent")
            self._lines.request_again(silent, now)
        for quiet in self._watch.take_all_quiet(now):
            self._health.count("subscription.all-quiet")
            self._lines.request_again(quiet, now)
        while True:
            while self._to_drop:
                await self._send(encode_unsubscribe(self._to_drop.pop()))
            now = trio.current_time()
            conid = self._lines.take_due(now)
            if conid is None:
                return
            if not self._pass_on(conid, now):
                await self._request(conid, now)

    async def _request(self, conid: Conid, now: float) -> None:
        is_option = conid in self.view.plan.options
        if self._lines.is_unanswered(conid):
            self._health.count("subscription.repeated")
        self._watch.requested(conid, now, is_option=is_option)
        await self._send(encode_subscribe(conid, underlying=not is_option))

    def _pass_on(self, conid: Conid, now: float) -> bool:
        """Give the line of a contract that is due to the next in turn, if it is time."""
        plan = self.view.plan
        successor = plan.successor(conid)
        if (
            successor is None
            or now - self._waiting_since[successor] < TURN_S
            or self._lines.held_s(conid, now) < HELD_AT_LEAST_S
        ):
            return False
        self._health.count("line.passed-on")
        changed = plan.pass_on(conid, successor)
        self.view = replace(self.view, plan=changed)
        self._apply_plan(changed)
        return True
