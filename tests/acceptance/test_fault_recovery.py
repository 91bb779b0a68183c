"""Every fault that the simulated brokers know, against the whole service.

The cases come from the simulators' own list, so that a fault that is added there is
tested here.  All of them are played once, side by side, by `tests.fault_matrix`.
"""

from __future__ import annotations

import pytest
import trio

from tests.fault_matrix import (
    CASES,
    ENDINGS,
    differences,
    process_prepared,
    run_matrix,
    table,
)

# The first test waits for all cases.
pytestmark = pytest.mark.timeout(500)

# The other broker never misses more than this.
OTHER_GAP_LIMIT_S = 2.0


@pytest.fixture(scope="module")
def outcomes(postgres_server, database_template):
    """The outcome of each case; made by an event loop of its own."""
    with process_prepared():
        found = trio.run(run_matrix, postgres_server, database_template.dbname)
    print(table(list(found.values())))  # noqa: T201  pytest shows it after a failure
    return found


@pytest.fixture(params=CASES, ids=lambda case: case.id)
def outcome(request, outcomes):
    return outcomes[request.param.id]


def test_the_broker_recovers_and_every_contract_ticks_again(outcome):
    assert outcome.recovered_s is not None, outcome.sessions


def test_the_other_broker_goes_on(outcome):
    assert outcome.other_gap_s < OTHER_GAP_LIMIT_S
    # Nor does a fault keep the event loop from both of them.
    assert outcome.busy_s < OTHER_GAP_LIMIT_S


def test_the_ledger_is_the_table(outcome):
    assert differences(outcome) == {}, (outcome.gaps, outcome.sessions)
    for counts in outcome.counts_by_broker.values():
        assert counts.sent > 0


def test_each_interruption_is_a_gap_that_has_ended(outcome):
    mine = [gap for gap in outcome.gaps if gap[0] == outcome.case.broker]
    # A doubt that was resolved is a gap too, and ends no connection.
    interrupted = [
        reason
        for _, key, reason, ended in mine
        if ended and key is None and reason != "session in doubt"
    ]
    has_ended = any(each.status == "disconnected" for each in outcome.sessions)

    assert bool(interrupted) == has_ended, (mine, outcome.sessions)


def test_the_status_names_the_problem(outcome):
    if outcome.case.id in ENDINGS:
        assert outcome.words
        assert any(each.status == "disconnected" for each in outcome.sessions)
    # A feed without data must not be called whole without a word or a count.
    assert outcome.words or outcome.interrupted_s < 30.0
