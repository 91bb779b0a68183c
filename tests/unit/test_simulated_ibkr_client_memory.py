"""The memory of a client that has read every frame of a contract."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeks_trio.simulators.ibkr.client_memory import GREEK_FIELDS, ReaderMemory

BLANK_ROW = dict.fromkeys(GREEK_FIELDS)


@pytest.fixture
def memory():
    return ReaderMemory()


def test_a_row_has_what_the_frame_says_and_what_was_said_before(memory):
    memory.receive({"7308": "0.5", "7633": "31.4%"}, 1)

    row = memory.receive({"7310": "-0.2", "84": "9"}, 2)

    assert row == BLANK_ROW | {"7308": 0.5, "7310": -0.2, "7633": 31.4 / 100}


def test_a_late_frame_has_nothing_of_newer_ones_and_overwrites_nothing(memory):
    memory.receive({"7308": "0.5", "7309": "0.1"}, 10)
    memory.receive({"7308": "0.6"}, 30)

    late = memory.receive({"7309": "0.2", "7310": "-0.3"}, 20)
    later = memory.receive({"7311": "0.4"}, 40)

    assert late == BLANK_ROW | {"7309": 0.2, "7310": -0.3}
    assert later["7308"] == 0.6
    assert later["7309"] == 0.2


def test_a_late_value_does_not_replace_a_newer_one(memory):
    memory.receive({"7308": "0.6"}, 30)

    late = memory.receive({"7308": "0.5"}, 20)
    later = memory.receive({"7309": "0.1"}, 40)

    assert (late["7308"], later["7308"]) == (0.5, 0.6)


@pytest.mark.parametrize("blank", ["", "N/A"])
def test_a_blank_clears_a_field(memory, blank):
    memory.receive({"7308": "0.5", "7309": "0.1"}, 1)

    cleared = memory.receive({"7308": blank}, 2)
    after = memory.receive({"7309": "0.2"}, 3)

    assert cleared == BLANK_ROW | {"7309": 0.1}
    assert after == BLANK_ROW | {"7309": 0.2}


@pytest.mark.parametrize(
    "frame", [{"84": "1.0"}, {"6509": "R"}, {"7633": "30%"}, {"7308": ""}]
)
def test_without_a_greek_there_is_nothing_to_store(memory, frame):
    assert memory.receive(frame, 1) is None


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(sorted(GREEK_FIELDS - {"7633"})),
            st.sampled_from(["0.1", "-0.2", "", "N/A"]),
            min_size=1,
        )
    )
)
def test_the_same_frame_twice_gives_the_same_row(frames):
    once, twice = ReaderMemory(), ReaderMemory()

    for time, frame in enumerate(frames):
        row = once.receive(frame, time)

        assert twice.receive(frame, time) == row == twice.receive(frame, time)
