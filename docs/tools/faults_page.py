"""The page of the simulated faults, from their declaration."""

from __future__ import annotations

from typing import Final

from docs.tools.markdown import code, page, table
from greeks_trio.simulators.fault_kinds import FaultKind
from greeks_trio.simulators.registry import SIMULATORS

_ABOUT: Final = """\
The simulated brokers can fail in the ways that the real ones are known to. [Testing](testing.md)
shows how to plan a fault. `ARG` is the argument of a fault; the number in brackets is its
default. A broker does not have a fault whose cell is empty.
"""


def faults_page() -> str:
    """Return ``docs/faults.md``."""
    names = dict.fromkeys(name for each in SIMULATORS.values() for name in each.faults)
    rows = (
        (code(name), *(_cell(each.faults.get(name)) for each in SIMULATORS.values()))
        for name in names
    )
    faults = table(("fault", *SIMULATORS), rows)
    source = "SIMULATORS in greeks_trio/simulators"
    return page("Simulated faults", source, _ABOUT, faults)


def _cell(kind: FaultKind | None) -> str:
    if kind is None:
        return ""
    return kind.help if kind.default is None else f"{kind.help} ({kind.default:g})"
