"""Notices when PostgreSQL refuses every row of a broker, although it is connected."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from greeks_trio.model.records import Broker
from greeks_trio.program import program_name

logger = logging.getLogger(__name__)


class RefusalWatch:
    """Compares the counters with those of the last call, by broker.

    A refused row among stored ones goes to the quarantine, and that is enough.  When every
    row is refused, the database has a fault: for example a month without a partition that
    this role may not make.
    """

    def __init__(self) -> None:
        self._persisted: Counter[Broker] = Counter()
        self._quarantined: Counter[Broker] = Counter()
        self._refused: Counter[Broker] = Counter()

    def update(
        self, *, persisted: Counter[Broker], quarantined: Counter[Broker]
    ) -> None:
        """Compare the counters since the start, and log every change.

        A broker without a row since the last call stays as it was.
        """
        stored = persisted - self._persisted
        refused = quarantined - self._quarantined
        self._persisted, self._quarantined = persisted.copy(), quarantined.copy()
        for broker in stored:
            if self._refused.pop(broker, 0):
                logger.warning("writer.stores_again broker=%s", broker)
        for broker in refused.keys() - stored.keys():
            if broker not in self._refused:
                logger.critical("writer.all_refused broker=%s", broker)
            self._refused[broker] += refused[broker]

    def problems(self) -> Sequence[str]:
        """Return a sentence for each broker without a stored row."""
        return [
            f"{broker}: PostgreSQL refuses every row, {rows} so far; "
            f"run {program_name()} quarantine for the reasons"
            for broker, rows in sorted(self._refused.items())
        ]
