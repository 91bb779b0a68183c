from __future__ import annotations

from datetime import timedelta

from greeks_trio.model.records import FeedGap
from greeks_trio.pipeline.losses import Losses
from tests.factories import START, make_tick


def gap(broker, first_s, last_s):
    return FeedGap(
        broker=broker,
        started_at=START + timedelta(seconds=first_s),
        ended_at=START + timedelta(seconds=last_s),
        reason="ticks lost",
    )


def add(losses, broker, rows, first_s, last_s):
    first, last = (START + timedelta(seconds=each) for each in (first_s, last_s))
    losses.add(broker, rows, first, last)


def test_losses_of_a_broker_are_one_gap_from_the_first_to_the_last():
    losses = Losses()

    add(losses, "ibkr", 3, 10, 20)
    add(losses, "ibkr", 2, 5, 8)
    add(losses, "tastytrade", 1, 30, 30)

    assert losses.rows == {"ibkr": 5, "tastytrade": 1}
    assert losses.total == 6
    assert losses.pop_gaps() == [gap("ibkr", 5, 20), gap("tastytrade", 30, 30)]


def test_a_gap_is_returned_once_and_the_count_stays():
    losses = Losses()
    add(losses, "ibkr", 1, 0, 0)
    assert losses.is_untold

    losses.pop_gaps()

    assert not losses.is_untold
    assert losses.pop_gaps() == []
    assert losses.total == 1


def test_ticks_are_counted_at_their_receipt():
    losses = Losses()

    losses.add_ticks([make_tick(4), make_tick(2)])

    [told] = losses.pop_gaps()
    assert told.started_at == make_tick(2).record.received_at
    assert told.ended_at == make_tick(4).record.received_at
