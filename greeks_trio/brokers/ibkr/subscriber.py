"""Keeps the subscriptions equal to the wanted contracts, and changes the turns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import trio

from greeks_trio.brokers.ibkr.lines.plan import NOTHING
from greeks_trio.brokers.ibkr.portfolio import PortfolioView
from greeks_trio.brokers.ibkr.shortfalls import StreamReport
from greeks_trio.brokers.ibkr.state import StreamState
from greeks_trio.brokers.ibkr.wire.events import encode_subscribe, encode_unsubscribe
from greeks_trio.brokers.ibkr.wire.protocol import IbkrProtocol
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.stream_report import gather_time
from greeks_trio.model.contracts import Conid
from greeks_trio.waiting import WakeUp

# No frame tells of a deadline or a silence; they are looked for this often.
CHECK_INTERVAL_S: Final = 15.0


class SubscriptionSender:
    """Subscribes, renews, repeats requests, changes the turns, and reports.

    Attributes:
        view: The wanted contracts, with their plan.
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
        # The next look at all contracts, and whether a request needs one before.
        self._look_at = float("-inf")
        self._is_news = False
        self.view = PortfolioView(NOTHING, 0)

    def apply(self, view: PortfolioView) -> None:
        """Take the wanted contracts; `run` sends the difference."""
        rotated, self.view = self.view.plan.rotating, view
        self._drop(self._state.plan_changed(view.plan, trio.current_time()))
        for conid in rotated:
            if conid not in self._state.rotation:
                self._protocol.forget(conid)

    async def run(self) -> NoReturn:
        """Send the due requests, and again after each change and at each due time.

        Looks at all contracts after changes and each `CHECK_INTERVAL_S`.  A renewal changes
        nothing: with thousands of contracts there are dozens each second.

        Runs until cancelled.

        Raises:
            FeedInterrupted: The gateway takes no request.
        """
        gather_s = gather_time(0.0)
        while True:
            await self._send_due()
            if self._is_news:
                self._is_news = False
                began_at = trio.current_time()
                self._report.update(self.view, began_at)
                gather_s = gather_time(trio.current_time() - began_at)
                self._look_at = trio.current_time() + CHECK_INTERVAL_S
            state = self._state
            next_at = min(
                state.lines.next_due(), state.rotation.next_at(), self._look_at
            )
            with trio.move_on_at(next_at):
                while not self._state.has_changed:
                    await self._changes.wait()
                await trio.sleep(gather_s)

    def _drop(self, conids: list[Conid]) -> None:
        self._to_drop += conids
        for conid in conids:
            # Frames of a turn that has ended may be on their way.
            if conid not in self._state.rotation:
                self._protocol.forget(conid)

    def _change_turns(self, now: float) -> None:
        dropped, begun = self._state.turns_due(now)
        self._is_news = self._is_news or bool(dropped or begun)
        self._drop(dropped)
        self._health.count("line.passed-on", len(dropped))
        for conid in begun:
            self._protocol.forget(conid)

    async def _send_due(self) -> None:
        now, lines = trio.current_time(), self._state.lines
        if self._state.has_changed or now >= self._look_at:
            self._is_news = True
            self._ask_the_quiet_again(now)
        self._state.sending_due(now)
        self._change_turns(now)
        while True:
            while self._to_drop:
                await self._send(encode_unsubscribe(self._to_drop.pop(0)))
            now = trio.current_time()
            due = lines.take_due(now)
            if due is None:
                return
            await self._request(due, now)

    def _ask_the_quiet_again(self, now: float) -> None:
        lines, quiet = self._state.lines, self._state.quiet
        for conid in quiet.take_silent(now):
            self._health.count("subscription.silent")
            lines.request_again(conid, now)
        for conid in quiet.take_all_quiet(now):
            self._health.count("subscription.all-quiet")
            lines.request_again(conid, now)

    async def _request(self, conid: Conid, now: float) -> None:
        self._is_news = self._is_news or not self._state.lines.is_answered(conid)
        is_option = conid in self.view.plan.options
        if self._state.lines.is_unanswered(conid):
            self._health.count("subscription.repeated")
        if conid not in self._state.rotation:
            self._state.quiet.requested(conid, now, is_option=is_option)
        await self._send(encode_subscribe(conid, underlying=not is_option))
