"""Reads wait when they have taken more than their share of the time."""

import trio

from greeks_trio.postgres.reads.budget import ReadBudget


async def test_reads_take_their_share_on_average(autojump_clock):
    budget = ReadBudget(0.5, longest_s=10)
    began_at, reads = trio.current_time(), 0
    while trio.current_time() - began_at < 1_000:
        await budget.wait()
        await trio.sleep(0.1)
        budget.spend(0.1)
        reads += 1

    # Half of the time, and the five seconds in advance.
    assert abs(reads * 0.1 - 505) < 1


async def test_a_page_that_opens_waits_for_nothing(autojump_clock):
    budget = ReadBudget(0.5, longest_s=10)
    began_at = trio.current_time()
    for _ in range(40):
        await budget.wait()
        budget.spend(0.1)

    assert trio.current_time() == began_at


async def test_after_a_standstill_reads_go_on(autojump_clock):
    budget = ReadBudget(0.5, longest_s=10)
    began_at = trio.current_time()
    for _ in range(4):
        budget.spend(600.0)  # the process was stopped in the middle of a read
    await budget.wait()
    assert trio.current_time() == began_at

    budget.spend(12.0)  # a read that was slow to end
    await budget.wait()
    assert trio.current_time() - began_at == 10
