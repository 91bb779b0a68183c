"""Read the faults of the command line, and make them happen at their time.

A fault is written ``BROKER:NAME@SECONDS[:ARG]``: ``ibkr:drop@30:5`` closes every
connection to the simulated IBKR gateway after 30 seconds and refuses new ones for 5.
The control endpoint takes faults without ``@SECONDS``; they happen at once.

`SIMULATORS` lists the faults that each broker knows.  A simulated broker has the
property ``verbs``, with a `Verb` under each of these names.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping

import msgspec
import trio

from greeks_trio.model.records import Broker
from greeks_trio.simulators.fault_kinds import FaultKind, Verb
from greeks_trio.simulators.registry import SIMULATORS

logger = logging.getLogger(__name__)


class Fault(msgspec.Struct, frozen=True):
    """One fault at its time.

    Attributes:
        at_s: Seconds after the broker's port accepts.
        arg: Its meaning and unit depend on the fault, see `FaultKind`.
    """

    broker: Broker
    name: str
    at_s: float
    arg: float


def parse_fault(text: str) -> Fault:
    """Return the fault that ``BROKER:NAME@SECONDS[:ARG]`` describes.

    Raises:
        ValueError: the text describes no fault; the message names the mistake.
    """
    name, at, when = text.partition("@")
    if not (at and ":" in name):
        raise ValueError(f"{text!r} is not BROKER:NAME@SECONDS[:ARG]")
    seconds, colon, arg = when.partition(":")
    return _fault(name, seconds, arg if colon else None, text)


def parse_present_fault(text: str) -> Fault:
    """Return the fault that ``BROKER:NAME[:ARG]`` describes; its time is 0 seconds.

    Raises:
        ValueError: the text describes no fault; the message names the mistake.
    """
    broker, _, rest = text.partition(":")
    name, colon, arg = rest.partition(":")
    if not name or "@" in text:
        raise ValueError(f"{text!r} is not BROKER:NAME[:ARG]")
    return _fault(f"{broker}:{name}", "0", arg if colon else None, text)


async def run_faults(faults: Iterable[Fault], verbs: Mapping[str, Verb]) -> None:
    """Make each fault happen at its time, counted from now.

    Faults with the same time happen together.  A long fault delays no other.  Returns
    when the last fault has ended; a cancellation ends the active faults.
    """
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        for fault in sorted(faults, key=lambda fault: fault.at_s):
            await trio.sleep_until(start + fault.at_s)
            nursery.start_soon(run_fault, fault, verbs, name=fault.name)


async def run_fault(fault: Fault, verbs: Mapping[str, Verb]) -> None:
    """Make the fault happen at once; return when it is over, or cancelled."""
    where = (fault.broker, fault.name, fault.arg)
    logger.info("simulator.fault broker=%s name=%s arg=%g", *where)
    await verbs[fault.name](fault.arg)
    logger.info("simulator.fault_over broker=%s name=%s arg=%g", *where)


def _fault(name_text: str, seconds: str, arg: str | None, whole: str) -> Fault:
    broker_name, _, name = name_text.partition(":")
    broker = next((each for each in SIMULATORS if each == broker_name), None)
    if broker is None:
        known = ", ".join(SIMULATORS)
        raise ValueError(f"unknown broker {broker_name!r} in {whole!r}; known: {known}")
    kinds = SIMULATORS[broker].faults
    if name not in kinds:
        known = ", ".join(kinds)
        text = f"unknown fault {name!r} in {whole!r}; {broker} knows: {known}"
        raise ValueError(text)
    at_s = _parse_number(seconds, "time", whole)
    return Fault(broker, name, at_s, _parse_argument(arg, kinds[name], whole))


def _parse_argument(text: str | None, kind: FaultKind, whole: str) -> float:
    if text is None:
        return kind.default or 0.0
    if kind.default is None:
        raise ValueError(f"the fault in {whole!r} takes no argument")
    number = _parse_number(text, "argument", whole)
    if number > kind.most:
        raise ValueError(f"the argument {text!r} in {whole!r} is above {kind.most:g}")
    return number


def _parse_number(text: str, part: str, whole: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"the {part} {text!r} in {whole!r} is not a number from 0 up")
    return number
