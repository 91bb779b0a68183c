"""Faults on demand: an HTTP endpoint on loopback that triggers them at once.

``GET /faults`` lists the faults of each broker; ``POST /faults`` makes one happen.  Its
body is JSON, ``{"fault": "tastytrade:drop", "arg": 5}`` or ``"tastytrade:drop:5"``.
There is no login: every program on this machine may trigger faults.  Web pages in a
browser may not.  Therefore a body must have the type ``application/json``, and the host
of a request must be a loopback address.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec
import trio

from greeks_trio.config.addresses import is_loopback
from greeks_trio.model.records import Broker
from greeks_trio.simulators.fault_kinds import FaultKind, Verb
from greeks_trio.simulators.faults import Fault, parse_present_fault, run_fault
from greeks_trio.simulators.registry import SIMULATORS
from greeks_trio.simulators.server.door import Door
from greeks_trio.simulators.server.http import Request, Response

# Limit of the active faults that were triggered here; a few hundred bytes each.
MAX_FAULTS: Final = 100


class _Order(msgspec.Struct, frozen=True):
    fault: str
    arg: float | None = None


class Control:
    """The endpoint; ``verbs`` has the verbs of each running broker."""

    def __init__(self, verbs: Mapping[Broker, Mapping[str, Verb]]) -> None:
        self._verbs = verbs
        self._door = Door(self._respond)
        self._wanted, self._received = trio.open_memory_channel[Fault](MAX_FAULTS)
        self._under_way = 0

    async def run(
        self, port: int, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until cancelled; a cancellation also ends the active faults.

        Reports the URL as started when the port accepts.  Port 0 means any free port.

        Raises:
            OSError: the port is taken; inside an `ExceptionGroup`.
        """
        with self._wanted, self._received:
            async with trio.open_nursery() as nursery:
                port = await nursery.start(self._door.run, port, name="control door")
                task_status.started(f"http://127.0.0.1:{port}")
                async for fault in self._received:
                    nursery.start_soon(self._run_fault, fault, name=fault.name)

    async def _run_fault(self, fault: Fault) -> None:
        try:
            await run_fault(fault, self._verbs[fault.broker])
        finally:
            self._under_way -= 1

    def _respond(self, request: Request) -> Response:
        if not _is_local(request.headers.get("host", "")):
            return _refusal(403, "only for clients on this machine")
        if request.path != "/faults":
            return _refusal(404, "there is only /faults")
        match request.method:
            case "GET" | "HEAD":
                return _answer(200, {name: _list(name) for name in self._verbs})
            case "POST":
                return self._trigger(request)
        return _refusal(405, "only GET and POST")

    def _trigger(self, request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip()
        if kind.lower() != "application/json":
            return _refusal(415, "the body must be application/json")
        try:
            fault = self._parse(request.body)
        except ValueError as exc:
            return _refusal(400, str(exc))
        if self._under_way >= MAX_FAULTS:
            return _refusal(503, "too many faults are under way")
        self._under_way += 1
        self._wanted.send_nowait(fault)
        happening = {"broker": fault.broker, "fault": fault.name, "arg": fault.arg}
        return _answer(202, happening)

    def _parse(self, body: bytes) -> Fault:
        try:
            order = msgspec.json.decode(body, type=_Order | str)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            text = 'the body is not {"fault": "BROKER:NAME", "arg": NUMBER}'
            raise ValueError(f"{text}: {exc}") from exc
        if isinstance(order, str):
            text = order
        else:
            text = order.fault if order.arg is None else f"{order.fault}:{order.arg!r}"
        fault = parse_present_fault(text)
        if fault.broker not in self._verbs:
            raise ValueError(f"{fault.broker} does not run")
        return fault


def _list(broker: Broker) -> dict[str, FaultKind]:
    return dict(SIMULATORS[broker].faults)


def _is_local(host: str) -> bool:
    return is_loopback(urlsplit(f"//{host}").hostname)


def _answer(status: int, content: object) -> Response:
    return Response(status=status, body=msgspec.json.encode(content))


def _refusal(status: int, reason: str) -> Response:
    return _answer(status, {"error": reason})
