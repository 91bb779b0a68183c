"""The state of the service at one moment: each part is read once for all figures."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from datetime import UTC, datetime
from functools import cache, cached_property
from typing import TypeVar, get_args

import psutil

from greeks_trio.feeds.feed_statistics import FeedStatistics
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.staleness import StaleContract, StaleReason
from greeks_trio.model.records import Broker, StreamSession
from greeks_trio.monitoring.contract_survey import (
    ContractNumbers,
    ContractSurvey,
    survey_contracts,
)
from greeks_trio.monitoring.slo import SloStatistics
from greeks_trio.monitoring.status import ServiceStatus
from greeks_trio.pipeline.histograms import BucketCounts
from greeks_trio.pipeline.processor import ProcessorStatistics
from greeks_trio.pipeline.stores import SpoolSize
from greeks_trio.pipeline.tick_counts import LatencyStatistics
from greeks_trio.pipeline.writer import WriterStatistics
from greeks_trio.version import program_version
from greeks_trio.waiting import run_at_once

_T = TypeVar("_T")


class Readings:
    """The source of all figures.  Make one for each answer.

    Attributes:
        status: The parts of the service.
        now: The moment, UTC.
    """

    def __init__(self, status: ServiceStatus) -> None:
        self.status = status
        self.now = status.clock.now()

    def prepare(self) -> Generator[None, None, None]:
        """Look at every contract in small steps, so that no figure has to.

        Without it the first figure that needs them looks at all of them at once.
        """
        self.survey = yield from survey_contracts(self.status, self.now)

    @cached_property
    def survey(self) -> ContractSurvey:
        """Return the state of every subscribed contract."""
        return run_at_once(survey_contracts(self.status, self.now))

    # Of the pipeline.

    @cached_property
    def processor(self) -> ProcessorStatistics:
        """Return the counters of the processor."""
        return self.status.processor.statistics()

    @cached_property
    def writer(self) -> WriterStatistics:
        """Return the counters of the writer."""
        return self.status.writer.statistics()

    @cached_property
    def spool(self) -> SpoolSize:
        """Return the size of the spool."""
        return self.status.spool.size()

    def spool_oldest_age_s(self) -> float:
        """Return the age of the oldest tick on disk in seconds, 0 without one."""
        oldest_at = self.spool.oldest_at
        return 0.0 if oldest_at is None else (self.now - oldest_at).total_seconds()

    @cached_property
    def slo(self) -> SloStatistics:
        """Return the state of the latency SLO."""
        return self.status.slo.statistics()

    @cached_property
    def lost(self) -> Counter[Broker]:
        """Return the ticks that were read and that are stored nowhere."""
        lost = self.status.backlog.losses.rows.copy()
        for broker, feed in self.feeds.items():
            lost[broker] += feed.counts.get("ticks.lost", 0)
        return lost

    def durable(self, count: Callable[[BucketCounts], int]) -> Mapping[str, int]:
        """Return a count of the latencies to durable, by broker."""
        durable = self.status.tick_counts.to_durable.by_broker
        return {broker: count(durable[broker]) for broker in self.status.feeds}

    def loop_lag(self) -> LatencyStatistics:
        """Return the delays of the event loop."""
        lag = self.status.loop_lag
        return LatencyStatistics(window=lag.window(), since_start=lag.since_start())

    # Of the feeds.

    @cached_property
    def feeds(self) -> Mapping[Broker, FeedStatistics]:
        """Return the counters of each feed."""
        return {
            broker: health.statistics() for broker, health in self.status.feeds.items()
        }

    @cached_property
    def sessions(self) -> Mapping[Broker, StreamSession]:
        """Return the state of each feed."""
        return {session.broker: session for session in self.status.sessions()}

    @property
    def stale(self) -> list[StaleContract]:
        """Return the subscribed contracts without recent ticks, oldest of all first."""
        return self.survey.stale

    def stale_reasons(self) -> Mapping[Broker, Mapping[StaleReason, int]]:
        """Return how many contracts of each broker are stale, by the reason."""
        return {
            broker: {reason: each.by_reason[reason] for reason in get_args(StaleReason)}
            for broker, each in self.survey.numbers.items()
        }

    def markets_open(self) -> Mapping[str, bool]:
        """Return for each market in use whether it trades now."""
        return self.status.hours.open_markets(self.now)

    # Of the process.

    @property
    def process(self) -> psutil.Process:
        """Return our own process."""
        return _own_process()

    def cpu_s(self) -> float:
        """Return the user and system CPU time of the process in seconds."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def started_at(self) -> datetime:
        """Return when the process started, UTC."""
        return datetime.fromtimestamp(self.process.create_time(), UTC)

    def build(self) -> Mapping[str, str]:
        """Return the versions of the program and of Python."""
        return {"version": program_version(), "python": platform.python_version()}


@cache
def _own_process() -> psutil.Process:
    """Return our process.  It is kept, because making it costs more than reading it."""
    return psutil.Process()


def of_feeds(
    read: Callable[[FeedStatistics], _T],
) -> Callable[[Readings], Mapping[Broker, _T]]:
    """Return a function that reads a value of each feed's counters."""
    return lambda now: {broker: read(feed) for broker, feed in now.feeds.items()}


def of_sessions(
    read: Callable[[StreamSession], _T],
) -> Callable[[Readings], Mapping[Broker, _T]]:
    """Return a function that reads a value of each feed's session."""
    return lambda now: {broker: read(each) for broker, each in now.sessions.items()}


def of_healths(
    read: Callable[[FeedHealth], _T],
) -> Callable[[Readings], Mapping[Broker, _T]]:
    """Return a function that reads a value of each feed's health."""
    return lambda now: {broker: read(each) for broker, each in now.status.feeds.items()}


def of_contracts(
    read: Callable[[ContractNumbers], _T],
) -> Callable[[Readings], Mapping[Broker, _T]]:
    """Return a function that reads a number of each broker's contracts."""
    return lambda now: {
        broker: read(each) for broker, each in now.survey.numbers.items()
    }
