"""The log tells which server answers the reads."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import StoreUnavailable
from greeks_trio.monitoring.replica import Replica, run_replica_watch
from greeks_trio.pipeline.conditions import Conditions


class Reads:
    """Answers of the reads, one after the other; the last one stays."""

    def __init__(self, *answers):
        self.answers = [*answers]

    async def read(self, _work):
        await trio.lowlevel.checkpoint()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            raise StoreUnavailable("away")
        return answer


REPLICA, PRIMARY = (True, 0.0), (False, 0.0)


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ([PRIMARY], ["replica.away reads=primary"]),
        ([None], []),
        ([None, PRIMARY], ["replica.away reads=primary"]),
        (
            [REPLICA, REPLICA, None, PRIMARY, REPLICA],
            ["replica.answers", "replica.away reads=primary", "replica.answers"],
        ),
    ],
)
async def test_a_change_is_told_once_and_a_replica_that_never_answers_too(
    autojump_clock, caplog, answers, told
):
    caplog.set_level("INFO", "greeks_trio.monitoring.replica")
    config = DatabaseConfig(read_hosts=("replica",))
    watch = partial(
        run_replica_watch, Replica(), Conditions(), lambda: config, Reads(*answers)
    )
    with trio.move_on_after(60):
        await watch()
    assert [each for each in caplog.messages if "condition" not in each] == told
