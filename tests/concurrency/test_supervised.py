from __future__ import annotations

import logging
from functools import partial
from itertools import pairwise

import pytest
import trio
import trio.lowlevel

from greeks_trio.errors import SchemaRejected
from greeks_trio.model.condition_kinds import Severity
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.pipeline.supervised import PartOutages
from tests.concurrency.fakes import keys
from tests.concurrency.pipeline_parts import Pipeline


@pytest.fixture
def conditions():
    return Conditions()


@pytest.fixture
def outages(conditions):
    return PartOutages(conditions)


@pytest.mark.parametrize(
    "failure",
    [
        ValueError("copy_end"),
        RuntimeError("can't start new thread"),
        MemoryError(),
        OSError(24, "Too many open files"),
        ExceptionGroup("a nursery", [ValueError("copy_end")]),
    ],
    ids=repr,
)
async def test_a_part_that_fails_is_started_again(
    autojump_clock, outages, conditions, failure, caplog
):
    starts = []

    async def part():
        starts.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        if len(starts) < 5:
            raise failure

    await outages.run("writer", part)

    assert len(starts) == 5
    assert all(0.05 <= b - a <= 0.8 for a, b in pairwise(starts))
    assert outages.counts == {"writer": 4}
    assert conditions.counts()["part failed"] == 0
    [line] = [r for r in caplog.records if r.getMessage().startswith("part.failed")]
    assert line.levelname == "CRITICAL"
    assert line.exc_info


async def test_the_condition_lasts_until_the_part_has_worked_for_a_while(
    autojump_clock, nursery, outages, conditions
):
    fails = [True]

    async def part():
        await trio.sleep(1)
        if fails.pop() if fails else False:
            raise ValueError("copy_end")
        await trio.sleep_forever()

    nursery.start_soon(outages.run, "writer", part)
    await trio.sleep(5)
    [sentence] = conditions.sentences(Severity.NOT_READY)
    assert sentence.startswith("writer: unexpected error: ValueError: copy_end")

    await trio.sleep(10)
    assert conditions.sentences(Severity.NOT_READY) == []


async def test_a_part_that_fails_for_days_is_started_every_few_seconds(
    autojump_clock, outages, caplog
):
    caplog.set_level(logging.INFO)
    starts = []

    async def part():
        starts.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        raise ValueError("copy_end")

    with trio.move_on_after(1_000):
        await outages.run("writer", part)

    assert 200 <= len(starts) <= 420
    assert caplog.text.count("part.failed") == 1


async def test_a_schema_that_does_not_fit_is_no_outage(autojump_clock, outages):
    async def part():
        raise SchemaRejected("newer than this program")

    with pytest.raises(ExceptionGroup) as caught:
        await outages.run("writer", part)

    assert caught.group_contains(SchemaRejected)
    assert outages.counts == {}


async def test_it_ends_when_it_is_cancelled(autojump_clock, outages):
    with trio.move_on_after(5) as scope:
        await outages.run("writer", trio.sleep_forever)

    assert scope.cancelled_caught


async def test_a_request_that_fails_is_counted_and_logged_once(
    outages, conditions, caplog
):
    for _ in range(3):
        outages.note("reads", RuntimeError("can't start new thread"))

    assert outages.counts == {"reads": 3}
    assert caplog.text.count("part.failed part=reads") == 1
    assert conditions.counts()["part failed"] == 0


@pytest.mark.parametrize("part", ["writer", "replayer"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_an_unexpected_error_in_a_flush_loses_and_doubles_no_tick(
    autojump_clock, nursery, part, when
):
    """As psycopg's ValueError when a pooler reports two errors in one COPY."""
    pipeline = Pipeline()
    sink = pipeline.sink if part == "writer" else pipeline.replay_sink
    write, fails = sink.write, [True, True]

    async def odd_write(ticks, *, check_duplicates=False):
        if when == "after":
            new = await write(ticks, check_duplicates=check_duplicates)
        if fails and fails.pop():
            raise ValueError("copy_end returned a list")
        if when == "before":
            new = await write(ticks, check_duplicates=check_duplicates)
        return new

    sink.write = odd_write
    outages = PartOutages(pipeline.conditions)
    if part == "replayer":
        pipeline.database_goes()
    for name, run in (
        (
            "writer",
            partial(pipeline.writer.run, pipeline.sink.open, pipeline.retry_now),
        ),
        ("spooler", pipeline.spooler.run),
        ("replayer", partial(pipeline.replayer.run, pipeline.replay_sink.open)),
    ):
        nursery.start_soon(outages.run, name, run)
    await trio.sleep(1)
    ticks = pipeline.put(*range(10))
    await trio.sleep(1)
    pipeline.database_comes()
    await trio.sleep(20)

    # Without a database for a moment, the ticks may have gone by way of the disk.
    assert sorted(keys(pipeline.sink.ticks)) == sorted(keys(ticks))
    assert pipeline.spool.entries == {}
    assert outages.counts[part] >= 1
    assert pipeline.writer.statistics().is_connected

    pipeline.backlog.close()
    await trio.sleep(5)
    assert not nursery.child_tasks
