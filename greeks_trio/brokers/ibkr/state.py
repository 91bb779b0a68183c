"""The state of one connection, which its tasks share.  Pure.

Each change has a name, and each flag is set and cleared here alone.  The tasks call the
transitions; ``on_change`` wakes the tasks that wait, and each of them then reads the
properties that it cares about.

All times in seconds are of one monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Final

from greeks_trio.brokers.ibkr.lines.plan import NOTHING, Plan, WantedContract
from greeks_trio.brokers.ibkr.lines.renewals import LineSchedule
from greeks_trio.brokers.ibkr.lines.risk import held_first
from greeks_trio.brokers.ibkr.lines.rotation import Rotation
from greeks_trio.feeds.quiet import QuietSubscriptions
from greeks_trio.model.contracts import Conid, OptionContract

# The status shows these.  Real-time data, and frozen data after the close, are usual.
_SHOWN_LETTERS: Final = frozenset("DYNO")


class StreamState:
    """The subscriptions of one connection, and the state that its frames report.

    Attributes:
        lines: The subscriptions, and when each is due again.
        quiet: The times of the frames of each contract with a line of its own.
        rotation: The turns of the contracts that share lines.

    Args:
        session_id: The session to name when the gateway asks for it.
        lines: The empty schedule of this connection.
        rotation: The turns of earlier connections.
        on_change: Called after a change that a task may wait for.
    """

    def __init__(
        self,
        session_id: str,
        lines: LineSchedule,
        rotation: Rotation,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.lines = lines
        self.rotation = rotation
        self.quiet: QuietSubscriptions[Conid] = QuietSubscriptions()
        self._on_change = on_change
        self._session_id = session_id
        self._plan = NOTHING
        self._letters: dict[Conid, str] = {}
        self._is_ready = self._is_restarted = self._has_changed = False
        self._must_ask = self._is_doubted = self._shows_doubt = False
        self._lost_since: datetime | None = None

    # For the tasks to read.

    @property
    def session_id(self) -> str:
        """The session to name when the gateway asks for it."""
        return self._session_id

    @property
    def options(self) -> Mapping[Conid, WantedContract]:
        """The contracts whose frames become ticks."""
        return self._plan.options

    def __contains__(self, conid: object) -> bool:
        """Return whether frames about the conid are for us.

        So are those that were on their way when a turn ended.
        """
        return conid in self.lines or conid in self.rotation

    @property
    def letters(self) -> Mapping[Conid, str]:
        """The first letter of field 6509 of each contract."""
        return self._letters

    @property
    def is_ready(self) -> bool:
        """Whether the gateway hears requests."""
        return self._is_ready

    @property
    def has_changed(self) -> bool:
        """Whether there is something new to request or to report."""
        return self._has_changed

    @property
    def must_ask(self) -> bool:
        """Whether the gateway should be asked at once if the session lives."""
        return self._must_ask

    @property
    def is_doubted(self) -> bool:
        """Whether the session was doubted and the streams were not requested since."""
        return self._is_doubted

    @property
    def shows_doubt(self) -> bool:
        """Whether the status shows a doubt; it stays a while after the doubt ends."""
        return self._shows_doubt

    # Transitions by frames.

    def gateway_ready(self) -> bool:
        """Take a ``system`` frame; return whether the gateway has begun anew.

        The first one says that requests are heard.  A later one says that the gateway
        has forgotten all requests.
        """
        is_again = self._is_ready
        self._is_ready = True
        if is_again:
            self._is_restarted = True
            self._has_changed = True
        self._on_change()
        return is_again

    def frame_came(self, conid: Conid, now: float, *, has_greeks: bool) -> None:
        """Take a frame of a contract."""
        is_news = self.lines.answer(conid)
        if conid in self.rotation:
            is_first, is_tick = self.rotation.frame(conid, now, has_greeks=has_greeks)
            is_news = is_news or is_first
            if is_tick:
                self.quiet.market_ticks(now)
        if self.quiet.frame(conid, now, has_greeks=has_greeks) or is_news:
            self._change()

    def letter_came(self, conid: Conid, letter: str) -> None:
        """Take the first letter of field 6509: how recent the contract's data are."""
        before = self._letters.get(conid, "")
        self._letters[conid] = letter
        if letter in _SHOWN_LETTERS or before in _SHOWN_LETTERS:
            self._change()

    def session_doubted(self, *, lost_at: datetime | None) -> None:
        """Take a frame that casts doubt on the session.

        Args:
            lost_at: The time of the frame if it calls the session lost; `None` if
                another program wants the session.
        """
        self._is_doubted = self._shows_doubt = self._must_ask = True
        self._lost_since = self._lost_since or lost_at
        self._change()

    # Transitions by tasks.

    def request_failed(self) -> None:
        """Note that a request failed, perhaps because the session is lost."""
        self._must_ask = True
        self._on_change()

    def asking(self) -> None:
        """Note that the gateway is being asked if the session lives."""
        self._must_ask = False

    def session_renewed(self, session_id: str) -> None:
        """Take the session that the gateway named last."""
        self._session_id = session_id

    def session_regained(self) -> datetime | None:
        """Note that the session hears requests again: request every stream again.

        Returns when a frame first called the session lost, `None` if none did.
        """
        self._is_doubted = False
        self._is_restarted = True
        since, self._lost_since = self._lost_since, None
        self._change()
        return since

    def doubt_shown(self) -> None:
        """Note that the status has shown a doubt for long enough."""
        if self._shows_doubt and not self._is_doubted:
            self._shows_doubt = False
            self._change()

    def plan_changed(self, plan: Plan, now: float) -> list[Conid]:
        """Take the contracts to stream; return those to unsubscribe.

        A conid that has become another contract is subscribed anew.
        """
        others = {conid for conid in plan.options if self._is_another(conid, plan)}
        in_turn, sent = set(self.rotation.in_turn), self.lines.sent() - others
        # A contract that changes between an own and a shared line answers anew.
        changed = in_turn.intersection(plan.lines)
        changed |= sent.intersection(plan.rotating) - in_turn
        self._plan = plan
        self.rotation.drop(others)
        self._share_lines(plan, sent, now)
        dropped = self.lines.want(
            (each for each in self._with_line() if each not in others), now
        )
        self.lines.want(self._with_line(), now)
        for conid in changed - others:
            if conid in self.lines:
                self.lines.request_anew(conid, now)
        for conid in (*dropped, *plan.rotating):
            self.quiet.forget(conid)
        self._letters = {
            conid: letter
            for conid, letter in self._letters.items()
            if conid in self and conid not in others
        }
        self._change()
        return dropped

    def turns_due(self, now: float) -> tuple[list[Conid], list[Conid]]:
        """Begin and end turns; return the conids to unsubscribe and those that begin."""
        begun = self.rotation.advance(now)
        return self.lines.want(self._with_line(), now) if begun else [], begun

    def _is_another(self, conid: Conid, plan: Plan) -> bool:
        before, after = self._plan.options.get(conid), plan.options.get(conid)
        return (
            before is not None
            and after is not None
            and (
                _terms(before.contract) != _terms(after.contract)
                # The tick before has the price of the other underlying.
                or before.underlying_conid not in (None, after.underlying_conid)
            )
        )

    def sending_due(self, now: float) -> None:
        """Note that everything due is being requested; all is due after a restart."""
        self._has_changed = False
        if self._is_restarted:
            self._is_restarted = False
            self.lines.request_all_anew(now)

    def _share_lines(self, plan: Plan, with_line: set[Conid], now: float) -> None:
        shared = {conid: plan.options[conid] for conid in plan.rotating}
        self.rotation.assign(
            shared,
            plan.shared_lines,
            now,
            weigh=self._weigher(shared),
            with_line=with_line,
        )

    def _weigher(
        self, shared: Mapping[Conid, WantedContract]
    ) -> Callable[[], Mapping[Conid, float]] | None:
        """Return what weighs the contracts; `None` if all have equally many turns."""
        held = sum(wanted.is_held for wanted in shared.values())
        if self._plan.by_risk and held:
            return partial(self.rotation.risks.weights, shared)
        return partial(held_first, shared) if 0 < held < len(shared) else None

    def _with_line(self) -> tuple[Conid, ...]:
        return (*self._plan.lines, *self.rotation.in_turn)

    def _change(self) -> None:
        self._has_changed = True
        self._on_change()


def _terms(contract: OptionContract) -> tuple[object, ...]:
    return (contract.contract_key, contract.expiration, contract.strike)
