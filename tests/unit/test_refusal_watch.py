"""The watch for brokers of which PostgreSQL refuses every row."""

from __future__ import annotations

from collections import Counter

from greeks_trio.monitoring.refusal_watch import RefusalWatch


def test_a_broker_without_a_stored_row_is_a_problem_until_one_is_stored(caplog):
    watch = RefusalWatch()
    persisted, quarantined = Counter(ibkr=5, tastytrade=5), Counter()
    watch.update(persisted=persisted, quarantined=quarantined)
    assert watch.problems() == []

    quarantined["ibkr"] += 3
    persisted["tastytrade"] += 1
    watch.update(persisted=persisted, quarantined=quarantined)
    quarantined["ibkr"] += 4
    watch.update(persisted=persisted, quarantined=quarantined)
    # Without a new row the problem stays.
    watch.update(persisted=persisted, quarantined=quarantined)
    [problem] = watch.problems()
    assert problem.startswith("ibkr: PostgreSQL refuses every row, 7 so far")

    persisted["ibkr"] += 1
    watch.update(persisted=persisted, quarantined=quarantined)
    assert watch.problems() == []
    assert caplog.messages == [
        "writer.all_refused broker=ibkr",
        "writer.stores_again broker=ibkr",
    ]


def test_a_refused_row_among_stored_ones_is_no_problem(caplog):
    watch = RefusalWatch()

    watch.update(persisted=Counter(ibkr=1), quarantined=Counter(ibkr=99))

    assert watch.problems() == []
    assert caplog.messages == []
