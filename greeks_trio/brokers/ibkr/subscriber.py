"""Keeps the subscriptions equal to the wanted contracts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import trio
from msgspec.structs import replace

from greeks_trio.brokers.ibkr.lines.plan import NOTHING, Plan
from greeks_trio.brokers.ibkr.portfolio import PortfolioView
from greeks_trio.brokers.ibkr.shortfalls import StreamReport
from greeks_trio.brokers.ibkr.state import StreamState
from greeks_trio.brokers.ibkr.wire.events import encode_subscribe, encode_unsubscribe
from greeks_trio.brokers.ibkr.wire.protocol import IbkrProtocol
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.model.contracts import Conid
from greeks_trio.waiting import WakeUp

# No frame tells of a deadline or a silence; they are looked for this often.
CHECK_INTERVAL_S: Final = 15.0
# Changes come in bursts, one in each frame; one look at all contracts serves many.
_GATHER_S: Final = 0.05
# A contract passes its line on after both the wait of the next contract in turn and its
# own time with the line.
TURN_S: Final = 530.0
HELD_AT_LEAST_S: Final = 300.0


class SubscriptionSender:
    """Subscribes, renews, repeats requests, passes lines on, and reports.

    Attributes:
        view: The wanted contracts, with the present plan.
    """

    def __init__(
        self,
        send: Callable[[str], Awaitable[None]],
        health: FeedHealth,
        state: StreamState,
        protocol: IbkrProtocol,
        changes: WakeUp,
        report: StreamReport,
    ) -> None:
        self._send = send
        self._health = health
        self._state = state
        self._protocol = protocol
        self._changes = changes
        self._report = report
        self._to_drop: list[Conid] = []
        self._waiting_since: dict[Conid, float] = {}
        self.view = PortfolioView(NOTHING, 0)

    def apply(self, view: PortfolioView) -> None:
        """Take the wanted contracts; `run` sends the difference."""
        self.view = view
        self._apply_plan(view.plan)

    async def run(self) -> NoReturn:
        """Send the due requests, and again after each change and at each due time.

        Runs until cancelled.

        Raises:
            FeedInterrupted: The gateway takes no request.
        """
        while True:
            await self._send_due()
            self._report.update(self.view, trio.current_time())
            check_at = trio.current_time() + CHECK_INTERVAL_S
            with trio.move_on_at(min(self._state.lines.next_due(), check_at)):
                while not self._state.has_changed:
                    await self._changes.wait()
                await trio.sleep(_GATHER_S)

    def _apply_plan(self, plan: Plan) -> None:
        now = trio.current_time()
        for conid in self._state.plan_changed(plan, now):
            self._protocol.forget(conid)
            self._to_drop.append(conid)
        before = self._waiting_since
        self._waiting_since = {conid: before.get(conid, now) for conid in plan.waiting}

    async def _send_due(self) -> None:
        now = trio.current_time()
        self._state.sending_due(now)
        lines, quiet = self._state.lines, self._state.quiet
        for conid in quiet.take_silent(now):
            self._health.count("subscription.silent")
            lines.request_again(conid, now)
        for conid in quiet.take_all_quiet(now):
            self._health.count("subscription.all-quiet")
            lines.request_again(conid, now)
        while True:
            while self._to_drop:
                await self._send(encode_unsubscribe(self._to_drop.pop()))
            now = trio.current_time()
            due = lines.take_due(now)
            if due is None:
                return
            if not self._pass_on(due, now):
                await self._request(due, now)

    async def _request(self, conid: Conid, now: float) -> None:
        is_option = conid in self.view.plan.options
        if self._state.lines.is_unanswered(conid):
            self._health.count("subscription.repeated")
        self._state.quiet.requested(conid, now, is_option=is_option)
        await self._send(encode_subscribe(conid, underlying=not is_option))

    def _pass_on(self, conid: Conid, now: float) -> bool:
        """Give the line of a contract that is due to the next in turn, if it is time."""
        plan = self.view.plan
        successor = plan.successor(conid)
        if (
            successor is None
            or now - self._waiting_since[successor] < TURN_S
            or self._state.lines.held_s(conid, now) < HELD_AT_LEAST_S
        ):
            return False
        self._health.count("line.passed-on")
        changed = plan.pass_on(conid, successor)
        self.view = replace(self.view, plan=changed)
        self._apply_plan(changed)
        return True
