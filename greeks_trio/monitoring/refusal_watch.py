"""Whether PostgreSQL refuses everything of a broker: connected is not yet working."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from greeks_trio.model.records import Broker

logger = logging.getLogger(__name__)


class RefusalWatch:
    """Tells, between two looks at the counters, who had rows and none of them stored.

    One odd row among good ones is the quarantine's business.  All of them are a mistake
    in the database, such as a month whose partition this role may not make.
    """

    def __init__(self) -> None:
        self._persisted: Counter[Broker] = Counter()
        self._quarantined: Counter[Broker] = Counter()
        self._refused: Counter[Broker] = Counter()

    def update(
        self, *, persisted: Counter[Broker], quarantined: Counter[Broker]
    ) -> None:
        """Look at the counters since the start, and log who is refused now.

        A broker that had no row since the last look stays as it was.
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
        """Return a sentence for each broker none of whose rows is stored."""
        return [
            f"{broker}: PostgreSQL refuses every row, {rows} so far; "
            "bin/run-ingest quarantine says why"
            for broker, rows in sorted(self._refused.items())
        ]
