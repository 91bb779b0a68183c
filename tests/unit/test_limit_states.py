"""The states of a limit: told once each, never from a reading that tells nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeks_trio.config.parse import parse_config
from greeks_trio.errors import ConfigError
from greeks_trio.risk.limits import (
    LONGEST_STEP_S,
    Limit,
    LimitState,
    Reading,
    step,
)

START = datetime(2026, 11, 30, 15, tzinfo=UTC)
ABOVE = Limit(high=500.0, recovery_high=450.0, hold_s=30.0, unknown_hold_s=60.0)
GONE = Reading(reason="the database is away")


def known(value, **more):
    return Reading(value=float(value), positions=3, **more)


def run(limit, readings, *, every_s=10.0, state=None):
    """Return the kinds of the events, one for each reading, and the last state."""
    state = LimitState(since=START) if state is None else state
    kinds = []
    for number, reading in enumerate(readings):
        now = START + timedelta(seconds=every_s * number)
        state, event = step(limit, state, reading, now)
        kinds.append(event and event.kind)
    return kinds, state


def restarted(state):
    """Return what the table keeps of a state."""
    return replace(state, seen="none", read_at=None)


def test_a_breach_is_told_once_after_the_hold_time_and_so_is_its_end():
    values = [100, 510, 520, 530, 540, 550, 460, 449, 400]

    kinds, state = run(ABOVE, map(known, values))

    assert kinds == [None] * 4 + ["breach", None, None, "recovery", None]
    assert (state.status, state.value) == ("ok", 400.0)


def test_a_value_that_returns_within_the_hold_time_is_no_breach():
    kinds, _ = run(ABOVE, map(known, [510, 520, 500, 510, 520, 500]))

    assert set(kinds) == {None}


def test_a_reading_that_tells_nothing_neither_begins_nor_ends_a_breach():
    partial = [known(9_999, missing=1), known(0, stale=1), Reading(), GONE]
    for odd in partial:
        kinds, _ = run(ABOVE, [odd, odd, odd])
        assert set(kinds) == {None}

        kinds, state = run(ABOVE, [known(600)] * 4 + [odd] * 3)
        assert kinds == [None] * 3 + ["breach"] + [None] * 3
        assert state.status == "breached"


def test_the_time_of_such_readings_does_not_count_as_time_beyond_the_limit():
    kinds, _ = run(ABOVE, [known(600), known(600), GONE, GONE, known(600), known(600)])
    assert set(kinds) == {None}

    kinds, _ = run(ABOVE, [known(600)] * 2 + [GONE] * 2 + [known(600)] * 3)
    assert kinds[-1] == "breach"


def test_a_lasting_lack_is_told_once_and_so_is_its_end():
    for before, kind in ((100, "recovery"), (600, "breach")):
        steps = [known(before)] * 4 + [GONE] * 9 + [known(before)] * 2

        kinds, _ = run(ABOVE, steps)

        assert [each for each in kinds if each][-2:] == ["unknown", kind]
        assert kinds[-2:] == [kind, None]


def test_a_breach_that_is_known_again_needs_no_hold_time():
    state = LimitState(status="unknown", known="breached", since=START)

    assert run(ABOVE, [known(460)], state=state)[0] == ["breach"]
    assert run(ABOVE, [known(460)], state=replace(state, known="ok"))[0] == ["recovery"]


def test_between_recovery_and_threshold_the_last_known_state_counts():
    kinds, _ = run(ABOVE, [known(600)] * 4 + [GONE] * 7 + [known(460)])
    assert [each for each in kinds if each] == ["breach", "unknown", "breach"]

    kinds, _ = run(ABOVE, [known(400)] + [GONE] * 7 + [known(460)])
    assert [each for each in kinds if each] == ["unknown", "recovery"]


def test_outside_of_the_hours_nothing_changes():
    closed = [known(value, is_closed=True) for value in (0, 600)]
    for state in ("breached", "unknown", "ok"):
        before = LimitState(status=state, known="ok", since=START)

        kinds, after = run(ABOVE, closed * 20, state=before)

        assert set(kinds) == {None}
        assert (after.status, after.beyond_s) == (state, 0)


def test_so_many_positions_may_be_missing_or_stale():
    limit = replace(ABOVE, max_missing=1, max_stale=2, hold_s=0.0)

    assert run(limit, [known(600, missing=1, stale=2)])[0] == ["breach"]
    assert run(limit, [known(600, missing=2)])[0] == [None]
    assert run(limit, [known(600, stale=3)])[0] == [None]


@pytest.mark.parametrize(
    ("limit", "right", "wrong"),
    [
        (Limit(low=-5.0), (-5, 0, 9e9), (-5.1,)),
        (Limit(low=-5.0, high=5.0), (-5, 5), (-6, 6)),
        (Limit(high=5.0, is_absolute=True), (-5, 5), (-6, 6)),
        (Limit(high=5.0), (-9e9, 5), (5.1,)),
    ],
)
def test_the_comparisons(limit, right, wrong):
    assert all(map(limit.is_within, right))
    assert not any(map(limit.is_within, wrong))


def test_reminders_come_only_if_asked_for_and_only_of_a_known_breach():
    held = [known(600)] * 20
    assert [each for each in run(ABOVE, held)[0] if each] == ["breach"]

    limit = replace(ABOVE, remind_every_s=60.0)
    kinds, _ = run(limit, held)
    assert [place for place, kind in enumerate(kinds) if kind] == [3, 9, 15]

    limit = replace(limit, unknown_hold_s=900.0)
    kinds, _ = run(limit, [known(600)] * 4 + [GONE] * 9 + [known(600)])
    assert [place for place, kind in enumerate(kinds) if kind] == [3, 13]


def test_every_interval_of_the_setting_counts_as_time():
    needed = {"IBKR_ENABLED": "true"}
    found = parse_config(
        {**needed, "GREEKS_ALERTS_INTERVAL_S": f"{LONGEST_STEP_S / 2:g}"}
    )
    assert found.alerts_interval_s == LONGEST_STEP_S / 2
    with pytest.raises(ConfigError, match="GREEKS_ALERTS_INTERVAL_S"):
        parse_config({**needed, "GREEKS_ALERTS_INTERVAL_S": "61"})


def test_a_pause_of_the_service_counts_nowhere():
    state = run(ABOVE, [known(600), known(600)])[1]
    later = START + timedelta(days=2)

    for before in (state, restarted(state)):
        after, event = step(ABOVE, before, known(600), later)
        assert (event, after.beyond_s) == (None, 10.0)
    earlier, event = step(ABOVE, state, known(600), START - timedelta(days=1))
    assert (event, earlier.beyond_s) == (None, 10.0)


READINGS = st.one_of(
    st.floats(-1e4, 1e4).map(known),
    st.sampled_from([440, 449, 451, 499, 501, 600]).map(known),
    st.just(GONE),
    st.just(known(600, missing=1)),
    st.just(known(0, stale=2)),
    st.just(known(700, is_closed=True)),
)
LIMITS = st.builds(
    lambda hold, unknown, remind: replace(
        ABOVE, hold_s=hold, unknown_hold_s=unknown, remind_every_s=remind
    ),
    st.sampled_from([0.0, 20.0, 60.0]),
    st.sampled_from([0.0, 20.0, 60.0]),
    st.sampled_from([None, 60.0]),
)
STEPS = st.lists(
    st.tuples(
        READINGS,
        st.sampled_from([1.0, 10.0, LONGEST_STEP_S + 1, -5.0]),
        st.booleans(),  # a restart before this reading
    ),
    max_size=80,
)


@given(LIMITS, STEPS)
def test_however_it_goes_each_edge_is_told_once_and_only_by_knowledge(limit, steps):
    state, now = LimitState(since=START), START
    told = "new"
    proved_s = 0.0
    last = None
    for reading, seconds, is_restart in steps:
        now += timedelta(seconds=seconds)
        if is_restart:
            # What a table keeps of the state is all that the next run needs.
            state, last = restarted(state), None
        is_known = not reading.is_closed and not reading.gap(limit)
        is_high = is_known and reading.value > limit.high
        counts = last is True and is_high and 0 <= seconds <= LONGEST_STEP_S
        if (is_known and not is_high) or reading.is_closed:
            proved_s = 0.0
        proved_s += seconds if counts else 0.0
        last = is_high if is_known else None
        before = state
        state, event = step(limit, state, reading, now)

        assert (event is None) == (state.told_at is before.told_at)
        if event is None:
            assert state.status == before.status or (told, state.status) == (
                "new",
                "ok",
            )
            told = state.status
            continue
        assert event.before == before
        assert event.after == state
        if event.kind == "reminder":
            assert limit.remind_every_s
            assert told == state.status == "breached"
        elif event.kind == "breach":
            assert told != "breached"
            assert reading.value > limit.recovery_high
            assert is_known
            assert before.known == "breached" or proved_s >= limit.hold_s
        elif event.kind == "recovery":
            assert told in ("breached", "unknown")
            assert is_known
            assert reading.value <= limit.high
            if before.known == "breached":
                assert reading.value <= limit.recovery_high
        else:
            assert told != "unknown"
            assert not is_known
        told = state.status


@given(st.lists(st.floats(450.001, 500), min_size=1, max_size=30), st.booleans())
def test_within_the_hysteresis_nothing_is_told(values, is_breached):
    known_state = "breached" if is_breached else "ok"
    state = LimitState(status=known_state, known=known_state, since=START)

    kinds, after = run(ABOVE, map(known, values), state=state)

    assert set(kinds) == {None}
    assert after.status == known_state
