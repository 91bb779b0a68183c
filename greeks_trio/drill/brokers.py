"""The simulated brokers under drill: a process of their own with a control port."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx2
import msgspec
import trio

from greeks_trio.drill.processes import Child, DrillFailed
from greeks_trio.drill.simulated_brokers import read_first_line
from greeks_trio.simulators.run import Endpoints

_STOP_LIMIT_S: Final = 20.0
_ANSWER_LIMIT_S: Final = 10.0


class DrilledBrokers:
    """Both simulated brokers; made by `open_brokers`."""

    def __init__(self, child: Child, endpoints: Endpoints) -> None:
        self.endpoints = endpoints
        self._child = child

    async def make_fault(self, text: str) -> None:
        """Let ``BROKER:NAME[:ARG]`` happen now; returns when it has begun.

        Raises:
            DrillFailed: the simulators do not answer, or do not know it.
        """
        url = f"{self.endpoints.control_url}/faults"
        try:
            async with httpx2.AsyncClient(timeout=_ANSWER_LIMIT_S) as client:
                answer = await client.post(url, json={"fault": text})
        except httpx2.HTTPError as exc:
            raise DrillFailed(f"the simulated brokers do not answer: {exc}") from exc
        if not answer.is_success:
            raise DrillFailed(f"the simulated brokers refuse {text}: {answer.text}")

    async def stop(self) -> None:
        """Let them finish what they send and end.

        Raises:
            DrillFailed: they do not.
        """
        self._child.send(signal.SIGTERM)
        with trio.move_on_after(_STOP_LIMIT_S):
            while await self._child.stdout.receive_some():
                pass
            self._child.reap()
            return
        raise self._child.failure("do not end")


@asynccontextmanager
async def open_brokers(
    directory: Path, *, contracts: int, rate: float, seed: int
) -> AsyncIterator[DrilledBrokers]:
    """Run them for as long as the block lasts; their ledger is in the directory.

    Raises:
        DrillFailed: they did not start.
    """
    arguments = [
        *("simulate", "--ends-with-parent", "--control-port", "0"),
        *("--contracts", str(contracts), "--rate", str(rate), "--seed", str(seed)),
        *("--ledger", str(directory / "ledger.jsonl")),
    ]
    child = Child("the simulated brokers", arguments, log=directory / "brokers.log")
    try:
        yield DrilledBrokers(child, await _read_endpoints(child))
    finally:
        child.destroy()


async def _read_endpoints(child: Child) -> Endpoints:
    line = await read_first_line(child.stdout)
    try:
        return msgspec.json.decode(line, type=Endpoints)
    except msgspec.DecodeError as exc:
        raise child.failure("did not start") from exc
