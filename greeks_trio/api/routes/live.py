"""``GET /v1/stream``: the latest ticks, the sessions and the SLO as server-sent events.

A stream keeps a version number of `greeks_trio.pipeline.latest`, and at most
`HELD_TICKS` ticks.  It looks up the changes when the client can take them.  A slow client
therefore gets fewer updates, always the newest of each contract.

The events, all of them JSON:

- ``greeks``: a list of the ticks that are the latest of their series and were not sent
  yet, in no particular order.  A large list comes as several events.
- ``sessions``: all sessions, when a state changes; at most once a second for new times of
  heartbeats and messages.
- ``slo``: the latencies and the state of the SLO, at most once a second.
- ``alert``: a message about a limit.  The stream begins with the last one of each rule that
  is breached or unknown.
- ``time``: the service's clock, every `TIME_S` seconds.  A client that gets none has lost the
  stream, also where the connection seems to be open.

The stream begins with the present state of each, and continues with the changes.  There
are no event ids, and ``Last-Event-ID`` has no effect: a new connection begins with the
present state again, so it is complete.  Every tick is in the table.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from http import HTTPStatus
from operator import attrgetter
from typing import Annotated, Any, Final, TypeAlias

import msgspec
import trio
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, create_model

from greeks_trio.api.answers import described_problems
from greeks_trio.api.event_stream import (
    EVENT_STREAM,
    WRITE_LIMIT_S,
    EventStream,
    SendChunk,
    Streams,
    encode_event,
)
from greeks_trio.api.lists.parameters import (
    BROKER,
    CONTRACT_KEY,
    UNDERLYING,
    Text,
)
from greeks_trio.model.alerts import AlertEvent
from greeks_trio.model.contracts import ContractKey, OptionType
from greeks_trio.model.records import (
    Availability,
    Broker,
    StreamSession,
    UnifiedPositionRecord,
)
from greeks_trio.pipeline.latest import NOTHING_SEEN, Latest

# Dashboards and people.  The cost of a stream grows with the bytes that it sends.
MAX_STREAMS: Final = 32

# It also keeps proxies from ending a quiet connection.
TIME_S: Final = 5.0

AlertChanges: TypeAlias = Callable[[int | None], tuple[int, Sequence[AlertEvent]]]
# The interval of the checks of sessions and SLO, and the shortest interval of events for
# new times and figures without a change of state.
_LOOK_S: Final = 1.0
# All streams together take at most this part of the event loop's time.  Many streams with
# much to send therefore send less often.
_SHARE: Final = 0.1
# About 40 kB, and a quarter of a millisecond to encode.
_EVENT_TICKS: Final = 100
# The ticks that a stream takes from the latest ones at a time.  Those that the client has
# not read become old, and stay in memory as long.
HELD_TICKS: Final = 1_000


# Strikes and quantities are numbers here as in every other answer.
_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


class LatestTick(msgspec.Struct, frozen=True, gc=False):
    """A tick in an event: `UnifiedPositionRecord` without the broker's own message."""

    broker: Broker
    account_id: str
    underlying: str
    contract_key: ContractKey
    event_time: datetime
    received_at: datetime
    expiration: date | None
    strike: Decimal | None
    option_type: OptionType | None
    quantity: Decimal | None
    delta: float | None
    gamma: float | None
    theta: float | None
    vega: float | None
    rho: float | None
    implied_volatility: float | None
    underlying_price: float | None
    underlying_price_at: datetime | None
    price: float | None
    bid: float | None
    ask: float | None
    in_rotation: bool
    availability: Availability


class EventSource:
    """The values that streams send.

    Args:
        latest: The ticks.
        sessions: Returns the state of each enabled broker's feed.
        slo: Returns latencies and the state of the SLO, in types that JSON has.  It is
            called at most once a second for all streams together.
        alerts: Returns the number of the last alert, and those after a number; with `None`,
            those that are not over.

    Attributes:
        streams: Counts the streams.
    """

    def __init__(
        self,
        latest: Latest,
        sessions: Callable[[], Sequence[StreamSession]],
        slo: Callable[[], Mapping[str, Any]],
        alerts: AlertChanges = lambda _: (0, ()),
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        max_streams: int = MAX_STREAMS,
    ) -> None:
        self.latest = latest
        self.now = now
        self.sessions = sessions
        self.alerts = alerts
        self.streams = Streams(max_streams)
        self._ask_slo = slo
        self._slo: Mapping[str, Any] = {}
        self._slo_asked_at = -math.inf

    def slo(self) -> Mapping[str, Any]:
        """Return the latencies and the state of the SLO, at most one second old."""
        now = trio.current_time()
        if now - self._slo_asked_at >= _LOOK_S:
            self._slo, self._slo_asked_at = self._ask_slo(), now
        return self._slo


class StreamParams(BaseModel):
    """Which ticks are wanted, and how often; an unknown parameter is refused."""

    model_config = ConfigDict(extra="forbid")

    broker: str | None = None
    account_id: Text | None = None
    underlying: str | None = None
    contract_key: str | None = None
    interval_ms: Annotated[int, Field(ge=100, le=10_000)] = 250

    def filters(self) -> dict[str, str]:
        """Return the fields that a tick must have, with their values."""
        return self.model_dump(exclude={"interval_ms"}, exclude_none=True)


def make_router(source: EventSource, brokers: Sequence[str]) -> APIRouter:
    """Return ``/v1/stream``.

    Args:
        source: The values that are streamed.
        brokers: The names of all brokers, which the filter can name.
    """
    router = APIRouter(tags=["stream"])

    async def stream(params: StreamParams) -> Response:  # noqa: ASYNC124
        """Send events until the client leaves.

        They are `greeks`, `sessions`, `slo`, `alert`, and the `time` every 5 seconds.

        The stream begins with the present state and continues with the changes, at most
        once in `interval_ms` milliseconds (less often if many streams have much to send).
        If a contract changes more often, only its latest tick is sent.
        The filters apply to `greeks`.  Connect again after an interruption: the new
        stream begins with the present state, and `Last-Event-ID` has no effect.
        """
        client = _Client(source, params.filters(), params.interval_ms / 1e3)
        return EventStream(source.streams, client.run, write_limit_s=WRITE_LIMIT_S)

    checked = (BROKER, UNDERLYING, CONTRACT_KEY)
    fields: Any = {each.name: each.field(brokers) for each in checked}
    model = create_model("StreamQuery", __base__=StreamParams, **fields)
    # FastAPI reads the type of the parameters from here.
    stream.__annotations__["params"] = Annotated[model, Query()]
    router.get("/v1/stream", responses=_ANSWERS, response_class=Response)(stream)
    return router


class _Repeated:
    """An event that is sent at once when its state changes, and else once a second."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._state: object = None
        self._data = b""
        self._sent_at = -math.inf

    def chunks(self, value: object, state: object, now: float) -> Iterator[bytes]:
        """Yield the event if it is due: at once when ``state`` has changed."""
        if state == self._state and now - self._sent_at < _LOOK_S:
            return
        data = msgspec.json.encode(value)
        if data != self._data:
            self._state, self._data, self._sent_at = state, data, now
            yield encode_event(self._name, data)


class _Client:
    """The stream of one client.

    Args:
        source: The values to send.
        wanted: The fields that a tick must have, with their values.
        interval_s: Seconds from one check of the ticks to the next.
    """

    def __init__(
        self, source: EventSource, wanted: Mapping[str, str], interval_s: float
    ) -> None:
        self._source = source
        self._wanted = list(wanted.items())
        self._interval_s = interval_s
        self._version: int | None = None
        # The number of the last alert that was sent.
        self._alert: int | None = None
        self._spent_s = 0.0
        self._sessions, self._slo = _Repeated("sessions"), _Repeated("slo")

    async def run(self, send: SendChunk) -> None:
        """Send changes until cancelled."""
        told_time_at = -math.inf
        while True:
            looked_at = trio.current_time()
            self._spent_s = 0.0
            for chunk in self._timed(self._changes(looked_at)):
                if chunk:
                    await send(chunk)
                else:
                    await trio.lowlevel.checkpoint()
            if looked_at - told_time_at >= TIME_S:
                told_time_at = looked_at
                data = msgspec.json.encode({"now": self._source.now()})
                await send(encode_event("time", data))
            is_open = self._source.streams.statistics().open
            interval_s = max(self._interval_s, self._spent_s * is_open / _SHARE)
            await trio.sleep_until(looked_at + interval_s)
            with trio.move_on_at(looked_at + max(interval_s, _LOOK_S)):
                await self._source.latest.wait_newer(self._version or 0)

    def _timed(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the chunks, and measure the time that they take from the event loop.

        The time of the thread leaves out other processes on a busy machine.
        """
        began_at = time.thread_time()
        for chunk in chunks:
            self._spent_s += time.thread_time() - began_at
            yield chunk
            began_at = time.thread_time()
        self._spent_s += time.thread_time() - began_at

    def _changes(self, now: float) -> Iterator[bytes]:
        """Yield the events that are due; an empty chunk gives other tasks a turn."""
        sessions = self._source.sessions()
        yield from self._sessions.chunks(sessions, _states(sessions), now)
        slo = self._source.slo()
        yield from self._slo.chunks(slo, None, now)
        self._alert, alerts = self._source.alerts(self._alert)
        for each in alerts:
            yield encode_event("alert", msgspec.json.encode(each))
        yield from self._greeks()

    def _greeks(self) -> Iterator[bytes]:
        # The first event shows that there is none, if there is none.
        is_owed = self._version is None
        # What changes from now on has its turn at the next look.
        last, seen = self._source.latest.version, self._version or NOTHING_SEEN
        while seen < last:
            seen, ticks = self._source.latest.changes(seen, HELD_TICKS)
            ticks = self._chosen(ticks)
            for at in range(0, len(ticks), _EVENT_TICKS):
                yield encode_event("greeks", _encode(ticks[at : at + _EVENT_TICKS]))
                is_owed = False
            if seen < last:
                yield b""
        if is_owed:
            yield encode_event("greeks", _encode([]))
        self._version = seen

    def _chosen(
        self, ticks: Sequence[UnifiedPositionRecord]
    ) -> Sequence[UnifiedPositionRecord]:
        if not self._wanted:
            return ticks
        # One value, or a tuple of several.
        names, values = zip(*self._wanted, strict=True)
        read, wanted = attrgetter(*names), values if len(values) > 1 else values[0]
        return [tick for tick in ticks if read(tick) == wanted]


def _states(sessions: Sequence[StreamSession]) -> list[StreamSession]:
    """Return the sessions without their times, which change with every frame."""
    return [
        msgspec.structs.replace(each, last_heartbeat_at=None, last_message_at=None)
        for each in sessions
    ]


def _encode(ticks: Sequence[UnifiedPositionRecord]) -> bytes:
    # The payload is the last field.
    shown = [LatestTick(*msgspec.structs.astuple(tick)[:-1]) for tick in ticks]
    return _ENCODER.encode(shown)


_EXAMPLE: Final = """event: time
data: {"now":"2026-11-20T15:30:04.6Z"}

event: sessions
data: [{"broker":"ibkr","status":"connected","last_heartbeat_at":"2026-11-20T15:30:01Z",\
"last_message_at":"2026-11-20T15:30:04.512Z","reconnect_attempt":0,\
"subscription_count":7,"last_error":null,"notes":[]}]

event: greeks
data: [{"broker":"ibkr","account_id":"U1234567","underlying":"SPY",\
"contract_key":"SPY   261218C00600000","event_time":"2026-11-20T15:30:04.5Z",\
"received_at":"2026-11-20T15:30:04.512Z","expiration":"2026-12-18","strike":600,\
"option_type":"call","quantity":-3,"delta":0.51,"gamma":0.012,"theta":-0.21,\
"vega":0.6,"rho":null,"implied_volatility":0.183,"underlying_price":668.25,\
"underlying_price_at":"2026-11-20T15:30:04.4Z","price":12.35,"bid":12.3,"ask":12.4,\
"in_rotation":false,"availability":"realtime"}]

"""
# The schema of one event, as OpenAPI describes this type of content.
_EVENT: Final = {
    "type": "object",
    "properties": {
        "event": {"enum": ["greeks", "sessions", "slo", "alert", "time"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
    "required": ["event", "data"],
}
_STREAM: Final[dict[int | str, dict[str, Any]]] = {
    int(HTTPStatus.OK): {
        "description": "Server-sent events, without end",
        "content": {EVENT_STREAM: {"schema": _EVENT, "example": _EXAMPLE}},
    }
}
_ANSWERS: Final = _STREAM | described_problems(
    HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE
)
