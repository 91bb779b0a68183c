"""Measure how fast frames become events, without sockets, rows and database.

Our parsers keep the payload, check the numbers and put them into canonical units; IBKR's
keeps the fields that a frame leaves out, too.  Beside them: json.loads and msgspec of the same
frames, which check nothing and name nothing; the events of the tastytrade SDK, which this
project installs for its REST calls; and ibind, in an environment of its own, which names
IBKR's fields and leaves their values as text.  ib_async speaks the other protocol of IBKR, the
one of TWS, and has no parser for these frames.

All take turns in each round.  The times are processor time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec
from tastytrade.dxfeed import Greeks

from greeks_trio.brokers.ibkr.wire.events import GreeksQuote
from greeks_trio.brokers.ibkr.wire.protocol import IbkrProtocol
from greeks_trio.brokers.tastytrade.wire.messages import GreeksEvent
from greeks_trio.brokers.tastytrade.wire.protocol import DxlinkProtocol
from tests.benchmarks.decode.frames import CHANNEL, FEED_CONFIG, KINDS, Kind
from tests.benchmarks.environments import Unavailable, environment
from tests.benchmarks.report import Report, Table, say

HELP = "frames a second of both parsers, beside json, msgspec and SDKs"
QUICK = ("--frames", "2000", "--rounds", "3")

OURS = "greeks_trio"
IBIND = ("ibind==0.2.2",)
_CHILD = Path(__file__).with_name("ibind_child.py")

# Parses all frames, and returns how many Greeks they had; `None` if it cannot tell.
Parse: TypeAlias = Callable[[Sequence[str]], int | None]


def _with_ibkr(frames: Sequence[str]) -> int:
    receive = IbkrProtocol().receive_frame
    found = [receive(frame) for frame in frames]
    return sum(isinstance(event, GreeksQuote) for events in found for event in events)


def _with_dxlink(frames: Sequence[str]) -> int:
    protocol = DxlinkProtocol([CHANNEL])
    protocol.receive_frame(FEED_CONFIG)
    found = [protocol.receive_frame(frame) for frame in frames]
    return sum(isinstance(event, GreeksEvent) for events in found for event in events)


def _with_sdk(frames: Sequence[str]) -> int:
    # As its streamer does with a frame of COMPACT events.
    found = [Greeks.from_stream(json.loads(frame)["data"][1]) for frame in frames]
    return sum(map(len, found))


def _with_json(frames: Sequence[str]) -> None:
    for frame in frames:
        json.loads(frame)


def _with_msgspec(frames: Sequence[str]) -> None:
    decode = msgspec.json.Decoder().decode
    for frame in frames:
        decode(frame)


PARSERS: dict[str, dict[str, Parse]] = {
    "ibkr": {
        OURS: _with_ibkr,
        "json.loads": _with_json,
        "msgspec, without types": _with_msgspec,
    },
    "tastytrade": {
        OURS: _with_dxlink,
        "json.loads": _with_json,
        "msgspec, without types": _with_msgspec,
        "tastytrade SDK": _with_sdk,
    },
}


class WrongCount(Exception):
    """A parser found another number of Greeks than the frames have."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--frames", type=int, default=20_000, help="in each round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--without-ibind", action="store_true")


def run(options: argparse.Namespace) -> Report:
    """Measure all parsers in turn, for each kind of frames."""
    table = Table(
        "From frames to events",
        ["frames", "parser", "frames/s", "us a frame", "us a tick", "of json.loads"],
        [],
        ["median of the rounds, processor time"],
    )
    try:
        for kind in KINDS:
            say(f"decode: {kind.name}")
            _add_kind(table, kind, options)
    except WrongCount as exc:
        return Report([], failures=[str(exc)])
    return Report([table])


def _add_kind(table: Table, kind: Kind, options: argparse.Namespace) -> None:
    frames = kind.frames(max(1, options.frames // kind.ticks))
    found = measure(kind, frames, options.rounds)
    if kind.broker == "ibkr" and not options.without_ibind:
        try:
            found["ibind 0.2.2"] = _measure_ibind(frames, options.rounds)
        except Unavailable as exc:
            table.notes.append(f"ibind cannot run here: {exc}")
    base = found["json.loads"]
    for name, seconds in found.items():
        us = 1e6 * seconds / len(frames)
        table.rows.append(
            [kind.name, name, round(1e6 / us), us, us / kind.ticks, base / seconds]
        )


def measure(kind: Kind, frames: Sequence[str], rounds: int) -> dict[str, float]:
    """Return the median seconds of each parser.

    Raises:
        WrongCount: a parser found another number of Greeks.
    """
    times: dict[str, list[float]] = {name: [] for name in PARSERS[kind.broker]}
    for _ in range(rounds):
        for name, parse in PARSERS[kind.broker].items():
            started_at = time.process_time()
            greeks = parse(frames)
            times[name].append(time.process_time() - started_at)
            _check(name, kind, greeks, len(frames))
    return {name: statistics.median(each) for name, each in times.items()}


def _check(name: str, kind: Kind, greeks: int | None, frames: int) -> None:
    if greeks is not None and greeks != frames * kind.ticks:
        raise WrongCount(f"{name}: {greeks} Greeks in {frames} frames of {kind.name}")


def _measure_ibind(frames: Sequence[str], rounds: int) -> float:
    python = environment("ibind", IBIND)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump([*frames], file)
        file.flush()
        done = subprocess.run(
            [python, "-I", _CHILD, file.name, str(rounds)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"ibind: {done.stderr[-2000:]}")
    found = json.loads(done.stdout)
    if found["events"] != len(frames):
        raise WrongCount(f"ibind: {found['events']} events in {len(frames)} frames")
    return statistics.median(found["times"])
