"""Run a part of the pipeline again after an exception that it does not expect.

Libraries raise more than they document.  For example psycopg raises `ValueError` when a
pooler reports several errors in one exchange, and a thread or a file cannot be opened when
the limits of the process are reached.  One part of the service has an outage then.  The
other parts go on, and nothing that the part holds is lost: ticks stay in the backlog, in
the spool or in both.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from greeks_trio.errors import ConfigError, SchemaRejected, plain_reason
from greeks_trio.model.condition_kinds import ConditionKind
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.waiting import Backoff

logger = logging.getLogger(__name__)

# A part that has run for so long works again.
_WORKS_AFTER_S: Final = 10.0


class PartOutages:
    """Runs parts of the service, and restarts a part after an unexpected exception.

    Attributes:
        counts: The outages since the start, by part.
    """

    def __init__(self, conditions: Conditions) -> None:
        self._conditions = conditions
        self.counts: Counter[str] = Counter()
        # The last exception of each part in the log, until the part works again.
        self._said: dict[str, str] = {}

    async def run(self, part: str, run: Callable[[], Awaitable[object]]) -> None:
        """Run a part until it returns; start it again whenever it raises.

        The wait between two starts doubles up to 5 s.  While the same exception comes
        again, it is logged without its traceback.

        Raises:
            ConfigError: the operator acts, as everywhere.
            SchemaRejected: the operator acts, as everywhere.
        """
        backoff = Backoff()
        while True:
            failure: BaseException | None = None
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._note_when_it_works, part, backoff)
                    await run()
                    nursery.cancel_scope.cancel()
            except* (ConfigError, SchemaRejected):
                raise
            except* Exception as group:  # noqa: BLE001  one part must not end the others
                failure = group
            if failure is None:
                self._works(part)
                return
            self._fails(part, failure)
            await backoff.wait()

    async def _note_when_it_works(self, part: str, backoff: Backoff) -> None:
        await trio.sleep(_WORKS_AFTER_S)
        backoff.reset()
        self._works(part)

    def note(self, part: str, failure: BaseException) -> None:
        """Count and log an unexpected error that ended one request, and not the part."""
        self.counts[part] += 1
        self._log(part, plain_reason(failure), failure)

    def _works(self, part: str) -> None:
        self._said.pop(part, None)
        self._conditions.end(ConditionKind.PART_FAILED, subject=part)

    def _fails(self, part: str, failure: BaseException) -> None:
        reason = plain_reason(failure)
        self.counts[part] += 1
        self._conditions.begin(
            ConditionKind.PART_FAILED,
            f"{part}: unexpected error: {reason}; it starts again by itself",
            subject=part,
        )
        self._log(part, reason, failure)

    def _log(self, part: str, reason: str, failure: BaseException) -> None:
        if self._said.get(part) == reason:
            logger.debug("part.failed part=%s reason=%s", part, reason)
            return
        self._said[part] = reason
        logger.critical("part.failed part=%s reason=%s", part, reason, exc_info=failure)
