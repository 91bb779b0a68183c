"""The event stream on real sockets of loopback."""

from __future__ import annotations

import gc
import json
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import count, islice, pairwise
from types import SimpleNamespace

import msgspec
import psutil
import pytest
import trio
import trio.testing

import greeks_trio.api.routes.live as live
from greeks_trio.alerts.recent import RecentAlerts
from greeks_trio.api.event_stream import EventStream, Streams
from greeks_trio.api.routes.live import (
    HELD_TICKS,
    EventSource,
    LatestTick,
    _Client,
    make_router,
)
from greeks_trio.api.server import run_http
from greeks_trio.config.settings import BROKERS, HttpConfig
from greeks_trio.model.alerts import AlertEvent
from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.records import StreamSession, UnifiedPositionRecord
from greeks_trio.pipeline.processor import Processor
from tests.event_client import open_events
from tests.factories import SPY_CALL, SPY_PUT, START, make_frame, make_record

# Far below any keep-alive, grace period or limit.
STOP_LIMIT_S = 1.0


class Service:
    """The values that streams send, as a test sets them."""

    def __init__(self, *, max_streams=4):
        self.processor = Processor()
        self.status = "connected"
        self.frames_at = None
        self.slo = {"slo": {"is_breached": False}}
        self.slo_asked = 0
        self.alerts = RecentAlerts()
        self.source = EventSource(
            self.processor.latest,
            self.sessions,
            self.ask_slo,
            self.alerts.changes,
            max_streams=max_streams,
        )

    def sessions(self):
        return [
            StreamSession(
                broker="ibkr", status=self.status, last_message_at=self.frames_at
            )
        ]

    def ask_slo(self):
        self.slo_asked += 1
        return self.slo

    def put(self, *records):
        for record in records:
            self.processor.process(make_frame(record))

    async def wait_streams(self, **counts):
        """Wait until the statistics have these values; no event reports a change."""
        with trio.fail_after(10):
            while True:
                found = self.source.streams.statistics()
                if all(getattr(found, name) == n for name, n in counts.items()):
                    return
                await trio.testing.wait_all_tasks_blocked(0.01)


@asynccontextmanager
async def serving(service):
    """Yield the URL of a server that streams the values of the service."""
    async with trio.open_nursery() as nursery:
        url = await nursery.start(
            run_http, HttpConfig(port=0), [make_router(service.source, BROKERS)]
        )
        yield url
        nursery.cancel_scope.cancel()


@pytest.fixture
def service():
    return Service()


@pytest.fixture
async def url(service, nursery):
    return await nursery.start(
        run_http, HttpConfig(port=0), [make_router(service.source, BROKERS)]
    )


def key(number):
    return ContractKey(f"SPY   261218C{number:08d}")


async def test_first_comes_everything_as_it_is(service, url):
    service.put(make_record(1), make_record(2), make_record(1, contract_key=SPY_PUT))
    async with open_events(url) as client:
        first = [await client.next() for _ in range(3)]

    names, values = zip(*first, strict=True)
    assert client.status == 200
    assert client.headers["content-type"].startswith("text/event-stream")
    assert client.headers["cache-control"] == "no-store"
    assert names == ("sessions", "slo", "greeks")
    assert values[0][0]["status"] == "connected"
    assert values[1] == {"slo": {"is_breached": False}}
    by_contract = {tick["contract_key"]: tick for tick in values[2]}
    assert set(by_contract) == {SPY_CALL, SPY_PUT}
    assert by_contract[SPY_CALL]["event_time"] == "2026-11-20T15:30:02Z"
    assert by_contract[SPY_CALL]["quantity"] == -3
    assert by_contract[SPY_CALL]["strike"] == 600
    assert "source_payload" not in by_contract[SPY_CALL]


async def test_without_a_tick_the_first_list_is_empty(url):
    async with open_events(url) as client:
        assert await client.value("greeks") == []


def test_a_tick_is_sent_with_every_field_but_the_payload():
    fields = UnifiedPositionRecord.__struct_fields__

    assert LatestTick.__struct_fields__ == fields[:-1]
    assert fields[-1] == "source_payload"


async def test_then_come_the_changes(service, url):
    service.put(make_record(0), make_record(0, contract_key=SPY_PUT))
    async with open_events(url, interval_ms=100) as client:
        await client.value("greeks")
        service.put(make_record(5, delta=0.75))
        [tick] = await client.value("greeks")

    assert (tick["contract_key"], tick["delta"]) == (SPY_CALL, 0.75)


async def test_a_thousand_ticks_between_two_events_are_one_per_contract(service, url):
    async with open_events(url, interval_ms=100) as client:
        await client.value("greeks")
        service.put(
            *(
                make_record(n, contract_key=key(n % 7), delta=n / 1e4)
                for n in range(1000)
            )
        )
        ticks = await client.value("greeks")

    assert sorted(tick["delta"] for tick in ticks) == [
        n / 1e4 for n in range(993, 1000)
    ]


async def test_the_interval_lies_between_two_events(service, url):
    async with open_events(url, interval_ms=300) as client:
        await client.value("greeks")
        came_at = []
        for number in range(3):
            service.put(make_record(number))
            await client.value("greeks")
            came_at.append(trio.current_time())

    # A timer may be late, but never early.
    assert came_at[2] - came_at[0] >= 0.6 - 0.05


@pytest.mark.parametrize(("streams", "at_least_s"), [(0, 0.25), (4, 1.6), (8, 3.2)])
async def test_much_to_send_to_many_is_sent_less_often(
    autojump_clock, nursery, monkeypatch, streams, at_least_s
):
    """Each event costs the event loop 20 ms; all streams may have a tenth of its time."""
    ticking = SimpleNamespace(thread_time=partial(next, count(0.0, 0.02)))
    monkeypatch.setattr(live, "time", ticking)
    service, sent_at = Service(max_streams=8), []
    for _ in range(streams):
        service.source.streams.enter()

    async def send(chunk):
        if b"event: greeks" in chunk:
            sent_at.append(trio.current_time())

    nursery.start_soon(_Client(service.source, {}, 0.25).run, send)
    for number in range(300):
        service.put(make_record(number))
        await trio.sleep(0.05)

    gaps = [later - sooner for sooner, later in pairwise(sent_at)]
    assert at_least_s - 1e-6 <= min(gaps) <= max(gaps) < 2 * at_least_s


async def test_many_contracts_come_as_several_events(service, url):
    service.put(*(make_record(contract_key=key(n)) for n in range(250)))
    async with open_events(url) as client:
        lists = [await client.value("greeks") for _ in range(3)]

    assert [len(each) for each in lists] == [100, 100, 50]
    assert len({tick["contract_key"] for each in lists for tick in each}) == 250


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"broker": "tastytrade"}, [4]),
        ({"account_id": "U2"}, [2, 3]),
        ({"underlying": "QQQ"}, [3]),
        ({"contract_key": SPY_PUT}, [2]),
        ({"contract_key": SPY_PUT.replace(" ", "").lower()}, [2]),
        ({"underlying": "qqq"}, [3]),
        ({"account_id": "U2", "underlying": "QQQ"}, [3]),
        ({"account_id": "nobody"}, []),
        ({}, [1, 2, 3, 4]),
    ],
)
async def test_a_filter_leaves_only_the_ticks_that_are_asked_for(
    service, url, parameters, expected
):
    service.put(
        make_record(1),
        make_record(2, account_id="U2", contract_key=SPY_PUT),
        make_record(3, account_id="U2", underlying="QQQ", contract_key=key(1)),
        make_record(4, broker="tastytrade", account_id="5WX"),
    )
    async with open_events(url, **parameters) as client:
        ticks = await client.value("greeks")

    assert sorted(int(tick["event_time"][17:19]) for tick in ticks) == expected


@pytest.mark.parametrize(
    "parameters",
    [
        {"broker": "schwab"},
        {"account_id": ""},
        {"underlying": "x" * 65},
        {"interval_ms": 99},
        {"interval_ms": 10_001},
        {"interval_ms": "often"},
        {"underlying": "SPY\0"},
        {"underlying": "/ESM7"},
        {"contract_key": "SPY 600 call"},
        {"underlyings": "SPY"},
    ],
)
async def test_an_unknown_parameter_or_value_is_refused(url, parameters):
    async with open_events(url, **parameters) as client:
        problem = json.loads(await client.read_body())

    assert client.status == problem["status"] == 422
    assert problem["errors"][0]["where"] == f"query.{next(iter(parameters))}"


async def test_a_change_of_a_session_is_sent_without_any_tick(service, url):
    async with open_events(url, interval_ms=100) as client:
        await client.value("sessions")
        service.status = "disconnected"
        [session] = await client.value("sessions")

    assert session["status"] == "disconnected"


async def test_a_tick_and_a_changed_session_wait_for_no_look(service, url, monkeypatch):
    """The tick wakes the stream, which then sees both."""
    monkeypatch.setattr(live, "_LOOK_S", 60.0)
    async with open_events(url, interval_ms=100) as client:
        await client.value("greeks")
        await trio.testing.wait_all_tasks_blocked(0.2)
        service.status = "disconnected"
        service.put(make_record())
        [session] = await client.value("sessions")
        [tick] = await client.value("greeks")

    assert session["status"] == "disconnected"
    assert tick["contract_key"] == SPY_CALL


async def test_new_times_of_a_session_are_sent_once_a_second(service, url):
    async with open_events(url, interval_ms=100) as client:
        await client.value("greeks")
        began_at = trio.current_time()
        for number in range(2):
            service.frames_at = make_record(number).event_time
            [session] = await client.value("sessions")

    assert session["last_message_at"] == "2026-11-20T15:30:01Z"
    assert trio.current_time() - began_at >= 0.9


async def test_the_slo_is_sent_when_it_changes(service, url):
    async with open_events(url) as client:
        await client.value("slo")
        service.slo = {"slo": {"is_breached": True}}
        assert await client.value("slo") == service.slo


def alert(rule, kind="breach"):
    return AlertEvent(
        rule=rule,
        kind=kind,
        at=START,
        severity="warning",
        from_state="ok",
        to_state="breached",
        message="SPY delta: ...",
        figure="delta",
        scope="SPY",
        unit="units",
        threshold="above 5",
        value=6.5,
        positions=1,
        missing=0,
        stale=0,
    )


async def test_alerts_that_are_not_over_come_first_and_then_each_new_one(service, url):
    service.alerts.load([alert("old")])
    service.alerts.add([alert("a"), alert("b"), alert("a", "recovery")])
    async with open_events(url) as client:
        first = [await client.value("alert") for _ in range(2)]
        service.alerts.add([alert("a"), alert("b", "unknown")])
        then = [await client.value("alert") for _ in range(2)]
    async with open_events(url) as client:
        again = {(await client.value("alert"))["rule"] for _ in range(3)}

    assert [each["rule"] for each in first] == ["old", "b"]
    assert [(each["rule"], each["kind"]) for each in then] == [
        ("a", "breach"),
        ("b", "unknown"),
    ]
    assert first[0]["value"] == 6.5
    assert again == {"old", "a", "b"}


async def test_the_slo_is_read_once_for_many_streams(service, url):
    async with AsyncExitStack() as stack:
        for _ in range(4):
            client = await stack.enter_async_context(open_events(url))
            await client.value("greeks")
        asked = service.slo_asked

    assert asked <= 2


async def test_a_quiet_stream_tells_the_time_again_and_again(url, monkeypatch):
    monkeypatch.setattr(live, "TIME_S", 0.05)
    async with open_events(url, interval_ms=100) as client:
        times = [(await client.value("time"))["now"] for _ in range(3)]

    assert times == sorted(set(times))
    assert (
        abs(datetime.fromisoformat(times[-1]) - datetime.now(UTC)).total_seconds() < 60
    )
    assert "retry: 2000" in client.lines


async def test_a_new_connection_begins_with_the_present_state(service, url):
    service.put(make_record(0), make_record(0, contract_key=SPY_PUT))
    async with open_events(url) as client:
        await client.value("greeks")
    service.put(make_record(9))

    async with open_events(url, headers={"Last-Event-ID": "7"}) as client:
        ticks = await client.value("greeks")

    assert {tick["event_time"][17:19] for tick in ticks} == {"09", "00"}


async def test_a_stream_beyond_the_limit_is_refused_until_another_ends(service, url):
    async with AsyncExitStack() as stack:
        for _ in range(4):
            await stack.enter_async_context(open_events(url))
        async with open_events(url) as refused:
            problem = json.loads(await refused.read_body())
    await service.wait_streams(open=0)
    async with open_events(url) as client:
        assert await client.value("greeks") == []

    assert refused.status == problem["status"] == 503
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers["retry-after"]
    assert service.source.streams.statistics().refused == 1


async def test_a_client_that_has_gone_is_noticed_without_any_event(service, url):
    async with open_events(url, interval_ms=10_000) as client:
        await client.value("greeks")
        await service.wait_streams(open=1)

    await service.wait_streams(open=0)


async def test_a_bug_ends_that_stream_only(service, url, caplog):
    async with open_events(url) as client, open_events(url) as other:
        await client.value("greeks")
        await other.value("greeks")
        service.put(make_record())
        service.status = "disconnected"
        await client.value("greeks")
        service.sessions = None
        service.source.sessions = None
        await client.wait_end()
    service.source.sessions = list

    async with open_events(url) as client:
        assert len(await client.value("greeks")) == 1
    assert service.source.streams.statistics().refused == 0


async def test_open_streams_do_not_hold_up_the_end(service):
    """One reads, one does not and has filled its socket."""
    records = [make_record(contract_key=key(n)) for n in range(20_000)]
    async with AsyncExitStack() as clients:
        async with serving(service) as url:
            reading = await clients.enter_async_context(open_events(url))
            await reading.value("greeks")
            service.put(*records)
            await clients.enter_async_context(open_events(url, buffer_bytes=4096))
            await service.wait_streams(open=2)
            await trio.testing.wait_all_tasks_blocked(0.2)
            stopped_at = trio.current_time()
        took_s = trio.current_time() - stopped_at

    assert took_s < STOP_LIMIT_S
    await service.wait_streams(open=0)


async def test_a_client_that_never_reads_costs_nothing(service, url):
    """A hundred thousand ticks pass; a client that reads gets the last of each contract."""
    async with (
        open_events(url, buffer_bytes=4096, interval_ms=100) as stuck,
        open_events(url, interval_ms=100) as client,
    ):
        assert stuck.status == 200
        contracts = [key(n) for n in range(500)]

        async def pass_ticks(start, number):
            for n in range(start, start + number):
                service.put(make_record(n, contract_key=contracts[n % 500]))
                if n % 500 == 0:
                    await trio.lowlevel.checkpoint()

        async def read_until(last):
            seen = {}
            while seen.get(contracts[last % 500]) != last:
                for tick in await client.value("greeks"):
                    at = make_record(0).event_time
                    moment = msgspec.convert(tick["event_time"], type(at))
                    seen[tick["contract_key"]] = (moment - at).total_seconds()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_until, 9_999)
            await pass_ticks(0, 10_000)
        gc.collect()
        before = psutil.Process().memory_info().rss
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_until, 99_999)
            await pass_ticks(10_000, 90_000)
        gc.collect()
        grown = psutil.Process().memory_info().rss - before

    assert len(service.processor.latest) == 500
    assert grown < 16 * 1024**2


def ticks_of(chunks):
    """Return the contract and second of each tick of events `greeks`."""
    start = make_record(0).event_time
    for chunk in chunks:
        if chunk.startswith(b"event: greeks"):
            for tick in msgspec.json.decode(chunk.split(b"data: ")[1]):
                moment = msgspec.convert(tick["event_time"], type(start))
                yield tick["contract_key"], (moment - start).total_seconds()


async def test_what_changes_while_a_client_reads_slowly_is_sent_once_and_new(service):
    """A stream holds few ticks; the others wait where newer ones replace them."""
    contracts = [key(n) for n in range(3 * HELD_TICKS)]
    service.put(*(make_record(0, contract_key=each) for each in contracts))
    client = _Client(service.source, {}, 0.25)

    chunks = client._changes(0.0)
    first = list(ticks_of(islice(chunks, 3)))
    service.put(*(make_record(1, contract_key=each) for each in contracts))
    rest = list(ticks_of(chunks))
    later = list(ticks_of(client._changes(1.0)))

    assert 0 < len(first) < HELD_TICKS
    held = contracts[:HELD_TICKS]
    assert [*first, *rest] == [(each, at) for at in (0, 1) for each in held]
    assert later == [(each, 1) for each in contracts[HELD_TICKS:]]


async def test_a_stream_gives_other_tasks_turns_while_it_finds_nothing_to_send(service):
    service.put(*(make_record(contract_key=key(n)) for n in range(3 * HELD_TICKS)))
    client = _Client(service.source, {"broker": "tastytrade"}, 0.25)

    *_, one, two, empty = client._changes(0.0)

    assert one == two == b""
    assert empty == b"event: greeks\ndata: []\n\n"


async def test_a_client_that_does_not_read_is_given_up():
    """Its socket is full, and after the limit the answer ends."""
    streams = Streams(1)
    blocked = trio.Event()

    async def send(message):
        if message.get("body", b"").startswith(b"event"):
            blocked.set()
            await trio.sleep_forever()

    async def run(send_chunk):
        await send_chunk(b"event: x\n\n")
        raise AssertionError("went on")

    stream = EventStream(streams, run, write_limit_s=0.05)
    with trio.fail_after(10):
        await stream({"type": "http"}, trio.sleep_forever, send)

    assert blocked.is_set()
    assert streams.statistics().dropped == 1
    assert streams.statistics().open == 0


async def test_a_client_that_is_given_up_has_its_connection_closed(
    service, url, monkeypatch
):
    monkeypatch.setattr(live, "WRITE_LIMIT_S", 0.3)
    service.put(*(make_record(contract_key=key(n)) for n in range(20_000)))
    async with open_events(url, buffer_bytes=4096) as client:
        await service.wait_streams(dropped=1, open=0)
        await client.wait_end()

    assert client.status == 200
