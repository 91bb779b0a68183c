from __future__ import annotations

import gc

import pytest
import trio

from greeks_trio.monitoring.garbage import run_garbage_watch


@pytest.fixture(autouse=True)
def thawed():
    """What a test freezes is looked at again in the tests after it."""
    yield
    gc.unfreeze()


async def test_what_the_start_made_is_frozen(nursery, autojump_clock):
    gc.unfreeze()

    nursery.start_soon(run_garbage_watch, lambda: 0)
    await trio.sleep(1)

    assert gc.get_freeze_count() > 10_000


async def test_objects_of_added_contracts_are_frozen_once(nursery, autojump_clock):
    contracts = 200
    nursery.start_soon(run_garbage_watch, lambda: contracts)
    await trio.sleep(20)

    contracts = 10_000
    made = [[number] for number in range(100_000)]
    at_start = gc.get_freeze_count()
    await trio.sleep(20)
    after_addition = gc.get_freeze_count()
    more = [[number] for number in range(100_000)]
    await trio.sleep(60)

    assert after_addition - at_start > 90_000
    assert gc.get_freeze_count() - after_addition < 10_000
    assert len(made) == len(more)
