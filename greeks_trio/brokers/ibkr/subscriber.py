"""Keeps what is subscribed equal to what is wanted, and says what is missing."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Final, NoReturn

import trio
from msgspec.structs import replace

from greeks_trio.brokers.ibkr.line_watch import LineWatch
from greeks_trio.brokers.ibkr.plan import NOTHING, Plan
from greeks_trio.brokers.ibkr.portfolio import PortfolioView
from greeks_trio.brokers.ibkr.protocol_events import (
    encode_subscribe,
    encode_unsubscribe,
)
from greeks_trio.brokers.ibkr.reader import FrameReader
from greeks_trio.brokers.ibkr.subscriptions import Lines
from greeks_trio.model.contracts import Conid, ContractKey
from greeks_trio.pipeline.health import SessionHealth

logger = logging.getLogger(__name__)

# What no frame tells, such as a deadline or a silence, is looked for this often.
CHECK_INTERVAL_S: Final = 15.0
# Changes come in bursts, one frame each; a look at all contracts serves many of them.
_GATHER_S: Final = 0.05
# A line is passed on when it was held, and the next in turn has waited, for so long.
TURN_S: Final = 530.0
HELD_AT_LEAST_S: Final = 300.0
# Enough contracts in a line of the log to see what they have in common.
_NAMED: Final = 10

# Why a contract has no data, and for how many seconds.
Missing = tuple[str, float]


class ContractGaps:
    """The open gaps of single contracts, across connections."""

    def __init__(self, health: SessionHealth) -> None:
        self._health = health
        self._open: dict[ContractKey, str] = {}

    def update(self, missing: Mapping[ContractKey, Missing]) -> None:
        """Open and close gaps so that they are those of these contracts."""
        for key, reason in list(self._open.items()):
            if key not in missing or missing[key][0] != reason:
                del self._open[key]
                self._health.gap_ended(key)
        opened: dict[str, list[ContractKey]] = {}
        for key, (reason, age_s) in missing.items():
            if key not in self._open:
                self._open[key] = reason
                since = self._health.now() - timedelta(seconds=age_s)
                self._health.gap_started(reason, key, since=since)
                opened.setdefault(reason, []).append(key)
        for reason, keys in opened.items():
            logger.warning(
                "ibkr.contracts_missing reason=%r contracts=%d first=%s",
                reason,
                len(keys),
                ",".join(keys[:_NAMED]),
            )


class Subscriber:
    """Subscribes, renews, asks again, passes lines on, and reports.

    Attributes:
        view: What is wanted, with the plan that is in force.
    """

    def __init__(
        self,
        send: Callable[[str], Awaitable[None]],
        health: SessionHealth,
        reader: FrameReader,
        lines: Lines,
        watch: LineWatch,
        gaps: ContractGaps,
    ) -> None:
        self._send = send
        self._health = health
        self._reader = reader
        self._lines = lines
        self._watch = watch
        self._gaps = gaps
        self._to_drop: list[Conid] = []
        self._waiting_since: dict[Conid, float] = {}
        self._troubles: dict[str, str] = {}
        self._streamed: set[ContractKey] = set()
        self.view = PortfolioView(NOTHING, 0)

    def apply(self, view: PortfolioView) -> None:
        """Take what is wanted; `run` sends the difference."""
        self.view = view
        self._apply_plan(view.plan)
        self._reader.changed.set()

    def trouble(self, about: str, words: str | None) -> None:
        """Show that something does not work, or with `None` that it does again."""
        if self._troubles.get(about) == words:
            return
        self._troubles.pop(about, None)
        if words is not None:
            self._troubles[about] = words
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
            self._report(trio.current_time())
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

    def _report(self, now: float) -> None:
        plan, sent = self.view.plan, self._lines.sent()
        streamed = {
            wanted.contract.contract_key
            for conid, wanted in plan.options.items()
            if conid in sent
        }
        if streamed != self._streamed:
            self._streamed = streamed
            self._health.contracts_streamed(streamed)
        self._health.subscriptions(
            wanted=self.view.wanted, live=len(streamed), without_line=len(plan.waiting)
        )
        self._gaps.update(self._missing(now))
        problems = list(self._problems(now))
        if not problems:
            self._health.connected()
            return
        if self._health.session().status == "connecting":
            self._health.connected()
        self._health.degraded("; ".join(problems))

    def _missing(self, now: float) -> dict[ContractKey, Missing]:
        options = self.view.plan.options
        found: dict[ContractKey, Missing] = {}

        def note(reason: str, conids: Iterable[tuple[Conid, float]]) -> None:
            for conid, age_s in conids:
                if conid in options:
                    found[options[conid].contract.contract_key] = (reason, age_s)

        note("no Greeks", self._watch.without_greeks(now).items())
        note("subscription silent", self._watch.silent(now).items())
        note(
            "subscription unanswered",
            ((each, self._lines.held_s(each, now)) for each in self._unanswered()),
        )
        note("no market-data line", ((each, 0.0) for each in self.view.plan.waiting))
        return found

    def _unanswered(self) -> set[Conid]:
        """Return the conids that do not answer; a silent one is called silent."""
        return self._lines.unanswered() - set(self._watch.silent(0.0))

    def _problems(self, now: float) -> Iterator[str]:
        view, plan = self.view, self.view.plan
        unanswered = self._unanswered()
        letters = Counter(self._reader.letters.values())
        claims = (
            (len(plan.waiting), "contracts beyond the market-data lines"),
            (
                plan.underlyings_without_line,
                "underlyings beyond the market-data lines: their price is unknown",
            ),
            (len(view.unknown), "contracts that IBKR does not know"),
            (view.unidentified, "position rows that could not be read"),
            (
                sum(conid in plan.options for conid in unanswered),
                "subscriptions without an answer",
            ),
            (
                sum(conid not in plan.options for conid in unanswered),
                "underlyings without an answer: their price is unknown",
            ),
            (len(self._watch.silent(now)), "subscriptions that have gone silent"),
            (len(self._watch.without_greeks(now)), "contracts without Greeks so far"),
            (letters["D"] + letters["Y"], "subscriptions with delayed market data"),
            (letters["N"], "subscriptions that this IBKR user has no market data for"),
            (
                letters["O"],
                "subscriptions that wait for the market-data API acknowledgement at IBKR",
            ),
        )
        yield from (f"{number} {words}" for number, words in claims if number)
        if view.missing_accounts:
            missing = " and ".join(view.missing_accounts)
            yield f"the IBKR login has no account {missing} (IBKR_ACCOUNTS)"
        yield from self._troubles.values()
