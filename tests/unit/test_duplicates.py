from __future__ import annotations

import random

from greeks_trio.postgres.duplicates import (
    DUPLICATES_LAST_S,
    ENOUGH_NEW_ROWS,
    ExpectedDuplicates,
)


def test_at_first_none_are_likely():
    assert not ExpectedDuplicates().are_likely(0.0)


def test_a_batch_that_was_checked_and_was_new_makes_none_likely():
    expected = ExpectedDuplicates()

    expected.checked(10, 10, 5.0)

    assert not expected.are_likely(5.0)


def test_after_a_duplicate_they_are_likely_for_a_time():
    expected = ExpectedDuplicates()

    expected.checked(10, 9, 5.0)

    assert expected.are_likely(5.0 + DUPLICATES_LAST_S - 1)
    assert not expected.are_likely(5.0 + DUPLICATES_LAST_S)


def test_or_until_enough_rows_in_a_row_were_new():
    expected = ExpectedDuplicates()
    expected.checked(10, 9, 5.0)

    expected.checked(ENOUGH_NEW_ROWS - 1, ENOUGH_NEW_ROWS - 1, 6.0)
    expected.checked(ENOUGH_NEW_ROWS, ENOUGH_NEW_ROWS - 1, 6.0)
    expected.checked(ENOUGH_NEW_ROWS - 1, ENOUGH_NEW_ROWS - 1, 6.0)
    assert expected.are_likely(6.0)
    expected.checked(1, 1, 6.0)

    assert not expected.are_likely(6.0)


def copies_failed(duplicates, batches, rows, batch_s):
    """Send the batches; the numbers of some have a duplicate.  Return the failed COPYs."""
    expected, failed, now = ExpectedDuplicates(), 0, 0.0
    for number in range(batches):
        has_some = number in duplicates
        if not (is_checked := expected.are_likely(now)) and has_some:
            expected.copy_failed(now)
            failed += 1
        if is_checked or has_some:
            expected.checked(rows, rows - has_some, now)
        now += batch_s
    return failed


def test_one_duplicate_fails_one_copy_and_few_batches_are_checked():
    expected = ExpectedDuplicates()
    expected.copy_failed(0.0)
    expected.checked(5_000, 4_999, 0.0)
    expected.checked(5_000, 5_000, 0.2)

    assert not expected.are_likely(0.4)


def test_scattered_duplicates_fail_ever_fewer_copies():
    """Ten million rows in eight minutes; every third batch has a duplicate."""
    assert copies_failed(range(0, 2_000, 3), 2_000, 5_000, 0.25) == 3


def test_however_the_duplicates_lie_few_copies_fail_in_an_hour():
    for seed in range(20):
        chance = random.Random(seed)
        share = chance.random() ** 4
        duplicates = {n for n in range(20_000) if chance.random() < share}

        assert copies_failed(duplicates, 20_000, 5_000, 0.18) <= 120, seed


def test_another_service_that_stores_the_same_ticks_fails_one_copy():
    """One tick at a time, each an instant after the other one has stored it."""
    assert copies_failed(range(10_000), 10_000, 1, 0.02) == 1


def test_after_a_calm_time_one_batch_is_enough_again():
    expected = ExpectedDuplicates()
    for _ in range(5):
        expected.copy_failed(0.0)
        expected.checked(5_000, 4_999, 0.0)

    later = DUPLICATES_LAST_S
    expected.copy_failed(later)
    expected.checked(5_000, 4_999, later)
    expected.checked(5_000, 5_000, later)

    assert not expected.are_likely(later)
