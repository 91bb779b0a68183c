"""The table of figures: every number that the service shows of itself, declared once.

The status in JSON, the metrics of Prometheus, the minute line and the table of the `status`
command are made from it; the dashboard, the alert rules and the documents are compared with
it.  To add a figure, add an attribute to the class of its subject.

- The name of a figure is the name of its attribute.  The path in the status and the key in
  the minute line end with the same words.
- A counter counts since the start of the service.
- Labels have few values, which are written in the source.  A contract or an account is
  never a label, because there may be any number of them.
- Figures of the process have the names that every Prometheus client gives them.

Source of the rules for names: https://prometheus.io/docs/practices/naming/
"""

from __future__ import annotations

from typing import Final

from greeks_trio.monitoring.figures.feeds import FeedFigures
from greeks_trio.monitoring.figures.figure import Figure
from greeks_trio.monitoring.figures.process import ProcessFigures
from greeks_trio.monitoring.figures.storage import StorageFigures
from greeks_trio.monitoring.figures.stores import StoreFigures
from greeks_trio.monitoring.figures.ticks import TickFigures


class Figures(TickFigures, StoreFigures, StorageFigures, FeedFigures, ProcessFigures):
    """The table, one base class for each subject."""


FIGURES: Final = [
    each
    for part in Figures.__bases__
    for each in vars(part).values()
    if isinstance(each, Figure)
]
METRICS: Final = [each for each in FIGURES if each.kind != "fact"]
