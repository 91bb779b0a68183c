"""The worker's side: takes requests from stdin, one after the other, and writes answers.

The process ends at the end of its input, which comes also when the service was killed.  A
bug in a job ends the process with a traceback on stderr; the service starts another one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import BinaryIO, Final

import msgspec

from greeks_trio.worker.frames import ANSWER, DONE, REFUSED, REQUEST, Request

# Ticks come first.
_NICE: Final = 10
_DECODER: Final = msgspec.msgpack.Decoder(Request)


class Refused(Exception):
    """The job cannot be done with these values; the message says why, in plain words."""


def _scenarios(request: bytes, positions: bytes) -> bytes:
    from greeks_trio.risk.scenario_records import (
        Holdings,
        RefusedScenario,
        ScenarioRequest,
    )
    from greeks_trio.risk.scenarios import run_scenarios

    try:
        answer = run_scenarios(
            msgspec.json.decode(request, type=ScenarioRequest),
            msgspec.json.decode(positions, type=Holdings),
        )
    except RefusedScenario as exc:
        raise Refused(str(exc)) from exc
    return msgspec.json.encode(answer)


def _explain(request: bytes, paths: bytes) -> bytes:
    from greeks_trio.risk.explain import explain
    from greeks_trio.risk.explain_records import (
        ExplainRequest,
        NothingToExplain,
        Paths,
    )

    try:
        answer = explain(
            msgspec.json.decode(request, type=ExplainRequest),
            msgspec.json.decode(paths, type=Paths),
        )
    except NothingToExplain as exc:
        raise Refused(str(exc)) from exc
    return msgspec.json.encode(answer)


def _estimates(terms: bytes, candidates: bytes) -> bytes:
    from greeks_trio.risk.estimate_records import Candidate, Terms
    from greeks_trio.risk.estimates import estimate

    rows = estimate(
        msgspec.json.decode(terms, type=Terms),
        msgspec.json.decode(candidates, type=list[Candidate]),
    )
    return msgspec.json.encode(rows)


# Each job takes the parts of a request, and returns the answer.
JOBS: Final[Mapping[str, Callable[..., bytes]]] = {
    "explain": _explain,
    "scenarios": _scenarios,
    "estimates": _estimates,
}


def main() -> None:
    """Answer requests until the end of the input."""
    os.nice(_NICE)
    # Read by numpy's library in C: its threads would take every processor and 30 MB each.
    os.putenv("OPENBLAS_NUM_THREADS", "1")
    import greeks_trio.risk.scenarios  # noqa: F401 - the first request finds it ready

    answer_all(sys.stdin.buffer, sys.stdout.buffer)


def answer_all(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until the end of the input."""
    while len(header := requests.read(REQUEST.size)) == REQUEST.size:
        (size,) = REQUEST.unpack(header)
        request = _DECODER.decode(requests.read(size))
        try:
            outcome, body = DONE, JOBS[request.job](*request.parts)
        except Refused as exc:
            outcome, body = REFUSED, str(exc).encode()
        answers.write(ANSWER.pack(outcome, len(body)))
        answers.write(body)
        answers.flush()


if __name__ == "__main__":
    main()
