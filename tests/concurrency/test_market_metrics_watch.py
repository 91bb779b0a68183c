"""When Tastytrade is asked for market metrics, and its refusals."""

from __future__ import annotations

import trio

from greeks_trio.brokers.tastytrade.market_metrics import MarketMetricsWatch
from greeks_trio.errors import FeedInterrupted
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.shortfalls import Shortfalls
from greeks_trio.model.market_metrics import MarketMetrics
from greeks_trio.pipeline.journal import Journal
from tests.factories import START


class FakeSession:
    """Answers with a beta of 1 for each symbol but those in ``unknown``.

    Attributes:
        asked: The time and the symbols of each request.
        failure: Raised instead of an answer.
    """

    def __init__(self, *unknown):
        self.unknown = unknown
        self.asked = []
        self.failure = None

    async def read_metrics(self, asked, at):
        await trio.lowlevel.checkpoint()
        self.asked.append((round(trio.current_time()), [*asked]))
        if self.failure is not None:
            raise self.failure
        rows = [
            MarketMetrics(symbol=key, source="tastytrade", observed_at=at, beta=1.0)
            for symbol, keys in asked.items()
            for key in keys
            if symbol not in self.unknown
        ]
        return rows, ["F: beta: NaN is no number"] if "F" in asked else []

    def times(self):
        return [at for at, _ in self.asked]


class Scene:
    """A feed that stands, and the way to its watch."""

    def __init__(self, nursery, session, interval_s=3_600.0):
        self.health = FeedHealth("tastytrade", Journal(), now=lambda: START)
        self.board = self.health.market_metrics
        self.session = session
        self.interval_s = interval_s
        self._nursery = nursery

    def connect(self):
        """Begin a connection, and return the scope that ends it."""
        shortfalls = Shortfalls(self.health)
        shortfalls.stands()
        watch = MarketMetricsWatch(
            self.health, shortfalls, self.session, interval_s=lambda: self.interval_s
        )
        scope = trio.CancelScope()

        async def run():
            with scope:
                await watch.run()

        self._nursery.start_soon(run)
        return scope

    @property
    def note(self):
        return "; ".join(self.health.session().notes)


async def test_all_underlyings_each_hour_and_new_ones_at_once(autojump_clock, nursery):
    session = FakeSession("VIX")
    scene = Scene(nursery, session)
    connection = scene.connect()
    await trio.sleep(50)
    assert session.asked == []  # the underlyings are not known yet

    scene.board.want(["AAPL", "VIX", "/ESZ27", "ibkr:702"])
    await trio.sleep(10)
    assert session.asked == [(50, ["/ES", "AAPL", "SPY", "VIX"])]
    assert [each.symbol for each in scene.board.waiting()] == ["/ESZ27", "AAPL", "SPY"]
    assert scene.note == "1 underlying without market metrics (VIX)"

    scene.board.want(["AAPL", "NVDA"])
    await trio.sleep(100)
    # One that has gone is no reason to ask.
    scene.board.want(["AAPL"])
    await trio.sleep(3_600)
    assert session.times() == [50, 60, 3_660]

    # A new connection asks when the old one would have asked.
    connection.cancel()
    scene.connect()
    await trio.sleep(3_580)
    assert session.times() == [50, 60, 3_660, 7_260]
    # More symbols than fit into one request; a value that cannot be read.
    session.unknown = ()
    scene.board.want(["F", *(f"S{number:03}" for number in range(60))])
    await trio.sleep(1)
    assert [len(symbols) for _, symbols in session.asked[-2:]] == [50, 12]
    assert scene.note == (
        "market metrics that cannot be read: F: beta: NaN is no number"
    )
    assert scene.health.statistics().counts["metrics.unreadable"] == 1
    assert scene.health.session().status == "connected"


async def test_a_refusal_is_a_note_and_the_broker_gets_its_pause(
    autojump_clock, nursery
):
    session = FakeSession()
    scene = Scene(nursery, session)
    session.failure = FeedInterrupted("Tastytrade answered 403", http_status=403)
    connection = scene.connect()
    scene.board.want(["AAPL"])
    await trio.sleep(700)
    assert session.times() == [0, 300, 600]
    assert scene.note == "market metrics cannot be read: Tastytrade answered 403"
    assert scene.health.session().status == "connected"
    assert scene.health.statistics().counts["metrics.failed"] == 3

    # A pause that the broker asks for holds also for new underlyings and connections.
    session.failure = FeedInterrupted(
        "Tastytrade answered 429", http_status=429, retry_after=1_000.0
    )
    await trio.sleep(250)
    connection.cancel()
    scene.connect()
    scene.board.want(["AAPL", "F"])
    await trio.sleep(900)
    assert session.times() == [0, 300, 600, 900]
    session.failure = None
    await trio.sleep(100)
    assert session.times() == [0, 300, 600, 900, 1_900]
    assert "403" not in scene.note

    # 0 reads none.
    scene.interval_s = 0.0
    scene.board.wanted_changed.wake()
    await trio.sleep(9_000)
    assert session.times()[-1] == 1_900
