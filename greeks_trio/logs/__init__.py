"""The log: one line for each event to stderr, as text, logfmt or JSON.

A message is ``area.event key=value ...`` with lazy arguments.  The levels:

- DEBUG: details of single frames.
- INFO: starts, stops and the configuration.
- WARNING: a problem that the program recovers from by itself.
- ERROR: a problem that a person should look at.
- CRITICAL: data were lost, or the program has a bug.

A line never has a secret or a control character, and never waits for its reader: see
`formats` and `background`.  A line that repeats itself is counted: see `repeats`.
"""

from greeks_trio.logs.background import background_output, lines_dropped
from greeks_trio.logs.formats import message_of
from greeks_trio.logs.setup import (
    configure_logging,
    critical_stream,
    explain_dropped,
    tell_repeats,
)

__all__ = [
    "background_output",
    "configure_logging",
    "critical_stream",
    "explain_dropped",
    "lines_dropped",
    "message_of",
    "tell_repeats",
]
