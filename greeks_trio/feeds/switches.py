"""The switches of all feeds, with which a person stops and starts them.

- A stopped feed stays stopped until it is started, also after SIGHUP: a reload gives it
  the settings for its next start.  A restart of the service starts every enabled feed.
- The writer, the spool and the other feeds are not affected.
- A stopped feed causes no alarm: `missing_feeds` leaves it out while another feed runs.
  When all feeds are stopped, it names them, because data that are no longer updated must
  not look ready.
- The service ends by itself only when every broker refuses its login.  A stopped feed
  counts as not refused.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial

import trio

from greeks_trio.feeds.feed import TickSender
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.supervisor import RestartPolicy, Supervisor
from greeks_trio.feeds.switch import FeedSwitch
from greeks_trio.model.records import Broker, StreamSession
from greeks_trio.waiting import WakeUp

logger = logging.getLogger(__name__)


class FeedSwitches:
    """One switch for the feed of each enabled broker.

    Args:
        healths: The health of each feed.
        on_all_refused: Called when every broker has refused its login.
    """

    def __init__(
        self,
        healths: Mapping[Broker, FeedHealth],
        *,
        on_all_refused: Callable[[], None],
    ) -> None:
        self._healths = healths
        self._on_all_refused = on_all_refused
        self._refused: set[Broker] = set()
        self._switches = {
            broker: self._make_switch(health) for broker, health in healths.items()
        }

    @property
    def enabled(self) -> Sequence[Broker]:
        """The brokers that can be started and stopped."""
        return list(self._switches)

    def sessions(self, brokers: Collection[Broker]) -> Sequence[StreamSession]:
        """Return the state of the feeds of these brokers, each once."""
        return [
            health.session()
            for broker, health in self._healths.items()
            if broker in brokers
        ]

    async def run_feed(
        self,
        broker: Broker,
        run_connection: Callable[[], Awaitable[object]],
        out: TickSender,
    ) -> None:
        """Run the feed whenever it is wanted, until cancelled; then close its channel end.

        The end stays open while a person has stopped the feed: closing it would be the
        end of the input.
        """
        with out:
            try:
                await self.run(broker, run_connection)
            finally:
                self._healths[broker].service_stopped()

    async def run(
        self, broker: Broker, run_connection: Callable[[], Awaitable[object]]
    ) -> None:
        """Run the broker's feed whenever it is wanted, until cancelled."""
        await self._switches[broker].run(run_connection)

    async def start(self, brokers: Collection[Broker]) -> None:
        """Start the feeds.  Those that pause between connections try at once."""
        async with trio.open_nursery() as nursery:
            for broker in dict.fromkeys(brokers):
                self._refused.discard(broker)
                nursery.start_soon(self._switches[broker].start)

    async def stop(self, brokers: Collection[Broker]) -> Collection[Broker]:
        """Stop the feeds and wait a few seconds for the end of their connections.

        Returns the brokers whose connection has not ended yet.
        """
        late: list[Broker] = []

        async def stop(broker: Broker) -> None:
            if not await self._switches[broker].stop():
                late.append(broker)

        async with trio.open_nursery() as nursery:
            for broker in dict.fromkeys(brokers):
                self._refused.discard(broker)
                nursery.start_soon(stop, broker)
        return late

    def retry(self) -> None:
        """Let the feeds that pause between connections try at once."""
        self._refused.clear()
        for broker, switch in self._switches.items():
            if switch.is_wanted:
                switch.retry()
            else:
                logger.info("streaming.stays_stopped broker=%s", broker)

    def _make_switch(self, health: FeedHealth) -> FeedSwitch:
        retry_now = WakeUp()
        supervisor = Supervisor(
            health,
            RestartPolicy(),
            retry_now,
            on_refused=partial(self._was_refused, health.broker),
        )
        return FeedSwitch(health, supervisor, retry_now)

    def _was_refused(self, broker: Broker) -> None:
        if not self._switches[broker].is_wanted:
            return  # a person has stopped it meanwhile
        self._refused.add(broker)
        if self._refused == self._switches.keys():
            self._on_all_refused()


def missing_feeds(healths: Iterable[FeedHealth]) -> list[str]:
    """Return a sentence for each feed that should bring data and does not.

    A feed that a person has stopped has none, unless all feeds are stopped.  A standby has
    none, because another service streams.
    """
    healths = list(healths)
    are_all_stopped = all(health.is_stopped for health in healths)
    return [
        f"{session.broker}: {session.last_error or session.status}"
        for health in healths
        if are_all_stopped or not (health.is_stopped or health.sharing.is_standby)
        if (session := health.session()).status not in ("connected", "degraded")
    ]


def degraded_feeds(healths: Iterable[FeedHealth]) -> list[str]:
    """Return a sentence for each feed that is degraded."""
    return [
        f"{session.broker}: {session.last_error or 'something is missing'}"
        for session in (health.session() for health in healths)
        if session.status == "degraded"
    ]


def feed_notes(healths: Iterable[FeedHealth]) -> list[str]:
    """Return a sentence for each note of the feeds: no fault, such as a stop by request."""
    return [
        f"{health.broker}: {note}"
        for health in healths
        for note in health.session().notes
    ]
