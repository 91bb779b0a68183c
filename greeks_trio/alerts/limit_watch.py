"""The task that watches limits: read, compare, write, send, and write the deliveries.

A message is in the table before it is sent, and so is its delivery after it.  A kill -9
between the two lets the next start send the message again, with the same key.  While the
database is away there is nothing to read and no table: the states become unknown, and the
messages about that are sent at once and written later.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn, TypeAlias
from uuid import UUID

import psycopg
import trio

from greeks_trio.alerts.channels import Channel
from greeks_trio.alerts.limit_book import LimitBook, reading_of
from greeks_trio.alerts.messages import text_of, title_of
from greeks_trio.alerts.recent import RecentAlerts
from greeks_trio.alerts.rules import Market, Rule
from greeks_trio.alerts.rules_file import load_rules
from greeks_trio.config.secret import Secret
from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import ConfigError, StoreError, plain_reason
from greeks_trio.model.alerts import AlertDelivery, AlertMessage
from greeks_trio.model.condition_kinds import ConditionKind
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.postgres.alert_store import (
    load_present,
    load_states,
    load_waiting,
    record,
    record_deliveries,
)
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.failures import translated
from greeks_trio.postgres.lease import RENEW_S, Lease, LeaseLost, judge_name
from greeks_trio.postgres.reads.limits import SumsByScope, read_sums
from greeks_trio.risk.limits import Reading
from greeks_trio.waiting import WakeUp

logger = logging.getLogger(__name__)

# Longer than the longest look at all limits, which cannot renew it meanwhile.
ALERTS_LEASE_S: Final = 40.0
# Ten thousand contracts take a second on a busy server.
_LIMIT_S: Final = 30.0
# A restart of the database takes less.
_AWAY_FOR_S: Final = 60.0
_END_LIMIT_S: Final = 2.0
# About half a megabyte.
_MOST_UNWRITTEN: Final = 1_000
_NO_CHANNEL: Final = "no channel has this name any more"

# Whether a market is open, `None` if its hours are not known.
IsOpen: TypeAlias = Callable[[Market, datetime], bool | None]
# Why the positions of a broker, or of all, are not those of now; empty if they are.
Unread: TypeAlias = Callable[[str | None], str]


class LimitWatch:
    """Watches the limits of the rules.  For the task of the event loop.

    Args:
        conditions: Takes the fault that limits are not watched.
        is_open: Tells whether a market is open.
        unread: Tells why the table lacks the present positions of a broker.
        now: The wall clock, UTC.
        source: The name of this service in titles.
        stale_after_s: The age from which a contract is stale.
        benchmark: The underlying in whose shares beta-weighted deltas are.
        lease: Of several services, its holder watches.

    Attributes:
        channels: Those that messages can go to.
        recent: The events of this run.
    """

    def __init__(
        self,
        conditions: Conditions,
        is_open: IsOpen,
        unread: Unread,
        now: Callable[[], datetime],
        *,
        source: str,
        stale_after_s: float,
        benchmark: str,
        lease: Lease,
    ) -> None:
        self._lease = lease
        self._conditions = conditions
        self._is_open = is_open
        self._unread = unread
        self._now = now
        self._source = source
        self._stale_after_s = stale_after_s
        self._benchmark = benchmark
        self.channels: Sequence[Channel] = ()
        self.recent = RecentAlerts()
        self._book = LimitBook()
        # In force from the next round on: a round is about one set of rules.
        self._wanted: Sequence[Rule] = ()
        self._is_loaded = False
        # Whether the last round had sums.
        self._is_read = False
        self._away_since: float | None = None
        # Not written yet, oldest first; and those of them that were sent already.
        self._unwritten: list[AlertMessage] = []
        self._sent: set[UUID] = set()
        self._ended: list[AlertDelivery] = []
        self._changed = WakeUp()

    @property
    def rules(self) -> Sequence[Rule]:
        """The rules in force, from the next round on."""
        return self._wanted

    def use(self, rules: Sequence[Rule]) -> None:
        """Put these rules in force."""
        self._wanted = rules
        self._changed.wake()

    def reload(self, file: Path | None, urls: Secret) -> None:
        """Read the rules again; with problems, log them, and the old rules stay in force.

        Args:
            file: The file; `None` for no rules.
            urls: The setting with the channels.
        """
        try:
            rules = load_rules(file, urls)
        except ConfigError as exc:
            for problem in exc.problems:
                logger.error("alerts.rules_refused problem=%s", problem)
            self._conditions.begin(ConditionKind.ALERT_RULES_REFUSED, f"{exc}")
            return
        self._conditions.end(ConditionKind.ALERT_RULES_REFUSED)
        self.use(rules)

    async def run(
        self,
        config: Callable[[], DatabaseConfig],
        interval_s: Callable[[], float],
        again: WakeUp,
    ) -> NoReturn:
        """Compare every rule in each interval, until cancelled; see `finish`.

        It has a connection of its own while there are rules.

        Args:
            config: Returns the present configuration of the database.
            interval_s: Returns the seconds between two readings.
            again: The database is another one.
        """
        while True:
            calls = self._changed.calls
            if not self.rules and not self._has_rows():
                self._is_watched()
                await self._changed.wait_beyond(calls)
                continue
            seen = again.calls
            self._is_read = False
            try:
                async with open_connection(config(), autocommit=True) as connection:
                    while again.calls == seen and (self.rules or self._has_rows()):
                        if await self._has_lease(connection):
                            await self._run_round(connection, interval_s())
                        else:
                            await self._stand_by(connection, again, seen)
            except* LeaseLost:
                logger.warning("alerts.lease_lost")
            except* StoreError as group:
                self._note_away(plain_reason(group))
                with trio.move_on_after(interval_s()):
                    await again.wait_beyond(seen)

    async def finish(self, config: Callable[[], DatabaseConfig]) -> None:
        """Within two seconds, write ended deliveries, and messages for the next start."""
        with trio.move_on_after(_END_LIMIT_S, shield=True):
            # The channels have ended; their last calls come with the next turn.
            await trio.lowlevel.checkpoint()
            if not (self._ended or self._unwritten or self._lease.epoch):
                return
            try:
                async with open_connection(config(), autocommit=True) as connection:
                    await self._write_deliveries(connection)
                    if self._unwritten:
                        await self._write(connection)
                    await self._lease.release(connection)
            except* (StoreError, LeaseLost) as group:
                logger.warning(
                    "alerts.not_written number=%d reason=%s",
                    len(self._ended) + len(self._unwritten),
                    plain_reason(group),
                )

    async def _write_deliveries(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Write deliveries that ended; they are of our messages, also without the lease."""
        ended = [*self._ended]
        with translated(connection), trio.fail_after(_LIMIT_S):
            await record_deliveries(connection, ended)
        del self._ended[: len(ended)]

    async def _has_lease(self, connection: psycopg.AsyncConnection[Any]) -> bool:
        """Take or renew the lease, if it is free, and return whether it is ours."""
        before = self._lease.epoch
        with translated(connection), trio.fail_after(_LIMIT_S):
            await self._lease.take(connection)
        judge_name(self._conditions, self._lease)
        if self._lease.epoch != before:
            # Another service watches, or has watched meanwhile: the table has the states.
            self._book = LimitBook()
            self._is_loaded = False
            self._unwritten.clear()
        return not self._lease.is_elsewhere

    async def _stand_by(
        self, connection: psycopg.AsyncConnection[Any], again: WakeUp, seen: int
    ) -> None:
        """Leave the limits to the holder of the lease; the table keeps their states."""
        await self._write_deliveries(connection)
        self._is_watched()
        with trio.move_on_after(RENEW_S):
            await again.wait_beyond(seen)

    def _has_rows(self) -> bool:
        """Return whether states of an earlier file, or deliveries, are to be written."""
        return bool(self._book.rows() or self._ended or self._unwritten)

    async def _run_round(
        self, connection: psycopg.AsyncConnection[Any], interval_s: float
    ) -> None:
        """Read, compare, write and send; then write deliveries until the next round."""
        began_at = trio.current_time()
        self._is_read = False
        if not self._is_loaded:
            await self._load(connection)
        self._book.rules = self._wanted
        with translated(connection, may_refuse=False), trio.fail_after(_LIMIT_S):
            wanted = [(each.figure.source, each.scope) for each in self._book.rules]
            sums = await read_sums(
                connection, wanted, self._stale_after_s, self._benchmark
            )
        self._is_read = True
        self._evaluate(partial(self._read, sums))
        await self._write(connection)
        self._send_written()
        self._is_watched()
        # Slow looks take at most half of the time, so that other readers have theirs.
        took_s = trio.current_time() - began_at
        await self._rest(connection, began_at + max(interval_s, 2 * took_s))

    async def _rest(
        self, connection: psycopg.AsyncConnection[Any], until: float
    ) -> None:
        while self._book.rules is self._wanted and trio.current_time() < until:
            calls = self._changed.calls
            if self._ended:
                await self._write(connection)
            with trio.move_on_at(until), trio.move_on_after(RENEW_S):
                await self._changed.wait_beyond(calls)
            if not await self._has_lease(connection):
                return

    async def _load(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Take the states of the run before, and send the messages that it has left."""
        with translated(connection, may_refuse=False), trio.fail_after(_LIMIT_S):
            states = await load_states(connection)
            waiting = await load_waiting(connection)
            present = await load_present(connection)
        self._book.load(states)
        self.recent.load(present)
        self._is_loaded = True
        for message in waiting:
            logger.info("alerts.sent_again message=%s", message.id)
            self._send(message)

    def _read(self, sums: SumsByScope, rule: Rule) -> Reading:
        found = sums[rule.figure.source, rule.scope]
        reading = self._with_hours(rule, reading_of(rule, found))
        is_of_accounts = rule.figure.source == "accounts"
        if reading.is_closed or reading.reason or is_of_accounts:
            return reading
        return replace(reading, reason=self._unread(rule.scope.broker))

    def _with_hours(self, rule: Rule, reading: Reading) -> Reading:
        if rule.market is None:
            return reading
        is_open = self._is_open(rule.market, self._now())
        if is_open is None:
            reason = f"the hours of the market {rule.market} are not known"
            return replace(reading, reason=reason)
        return reading if is_open else replace(reading, is_closed=True)

    def _evaluate(self, read: Callable[[Rule], Reading]) -> None:
        names = [each.name for each in self.channels]
        messages = self._book.evaluate(read, self._now(), names)
        for event in (event for each in messages for event in each.events):
            logger.warning(
                "alerts.event kind=%s rule=%s state=%s value=%s threshold=%s",
                event.kind,
                event.rule.replace(" ", "_"),
                event.to_state,
                event.value,
                event.threshold.replace(" ", "_"),
            )
        self._unwritten += messages

    async def _write(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Write states, new messages and ended deliveries in one transaction."""
        messages, ended = [*self._unwritten], [*self._ended]
        with translated(connection, may_refuse=False), trio.fail_after(_LIMIT_S):
            await record(connection, self._book.rows(), messages, ended, self._lease)
        self._book.forget_removed()
        # Others may have come during the wait.
        del self._ended[: len(ended)]

    def _send_written(self) -> None:
        """Send the messages that are in the table now."""
        messages, self._unwritten = self._unwritten, []
        for each in messages:
            if each.id not in self._sent:
                self._send(each)
                self.recent.add(each.events)
        self._sent.clear()

    def _send(self, message: AlertMessage) -> None:
        by_name = {each.name: each for each in self.channels}
        title, text = title_of(message, self._source), text_of(message)
        token = trio.lowlevel.current_trio_token()
        for name in message.channels:
            if (channel := by_name.get(name)) is None:
                self._note_end(message.id, name, 0, _NO_CHANNEL)
                continue
            note = partial(self._note_end, message.id, name)
            channel.send(
                title, text, key=f"{message.id}", done=partial(_in_loop, token, note)
            )

    def _note_end(
        self, message_id: UUID, channel: str, attempts: int, reason: str | None
    ) -> None:
        self._ended.append(
            AlertDelivery(
                message_id=message_id,
                channel=channel,
                attempts=attempts,
                reason=reason,
                finished_at=self._now(),
            )
        )
        self._changed.wake()

    def _note_away(self, reason: str) -> None:
        """Take a reading that tells nothing; send the messages that cannot be written now."""
        now = trio.current_time()
        if self._away_since is None:
            self._away_since = now
        elif now - self._away_since >= _AWAY_FOR_S and self.rules:
            words = f"the limits of alerts.toml are not watched: {reason}"
            self._conditions.begin(ConditionKind.LIMITS_NOT_WATCHED, words)
        if not self._is_loaded:
            return  # the states before this run are not known yet
        if not self._is_read:
            self._book.rules = self._wanted
            lost = Reading(reason=f"the database gives no sums ({reason})")
            self._evaluate(lambda rule: self._with_hours(rule, lost))
        for each in self._unwritten:
            if each.id not in self._sent:
                self._sent.add(each.id)
                self._send(each)
                self.recent.add(each.events)
        if (number := len(self._unwritten) - _MOST_UNWRITTEN) > 0:
            logger.error("alerts.events_not_written number=%d", number)
            del self._unwritten[:number]

    def _is_watched(self) -> None:
        self._away_since = None
        self._conditions.end(ConditionKind.LIMITS_NOT_WATCHED)


def _in_loop(
    token: trio.lowlevel.TrioToken,
    note: Callable[[int, str | None], None],
    attempts: int,
    reason: str | None,
) -> None:
    """Note the end of a delivery in the event loop, from the thread of a channel."""
    # After the end of the loop the row stays as it is, and the next start sends again.
    with suppress(trio.RunFinishedError):
        token.run_sync_soon(note, attempts, reason)
