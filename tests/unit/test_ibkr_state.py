"""Each transition of the state of an IBKR connection."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from msgspec.structs import replace

from greeks_trio.brokers.ibkr.lines.plan import Plan, WantedContract
from greeks_trio.brokers.ibkr.lines.renewals import LineSchedule
from greeks_trio.brokers.ibkr.lines.rotation import Rotation
from greeks_trio.brokers.ibkr.state import StreamState
from greeks_trio.model.contracts import Conid, contract_from_occ
from greeks_trio.model.positions import Holder
from tests.factories import SPY_CALL, SPY_PUT, START

CALL, PUT = Conid(7), Conid(8)


def make_plan(*conids):
    symbols = {CALL: SPY_CALL, PUT: SPY_PUT}
    options = {
        conid: WantedContract(
            contract_from_occ(symbols[conid]), (Holder("U1", Decimal(1)),), None
        )
        for conid in conids
    }
    return Plan(options, conids)


@pytest.fixture
def news():
    return []


@pytest.fixture
def state(news):
    """A connection that streams two contracts and has requested both."""
    schedule = LineSchedule(jitter=lambda: 0.0)
    state = StreamState("s1", schedule, Rotation(), lambda: news.append(None))
    state.plan_changed(make_plan(CALL, PUT), 0.0)
    state.sending_due(0.0)
    for conid in (CALL, PUT):
        schedule.take_due(0.0)
        state.quiet.requested(conid, 0.0, is_option=True)
    news.clear()
    return state


def flags(state):
    names = ("is_ready", "has_changed", "must_ask", "is_doubted", "shows_doubt")
    return {name for name in names if getattr(state, name)}


def test_a_new_connection_knows_nothing():
    state = StreamState("s1", LineSchedule(jitter=lambda: 0.0), Rotation())

    assert flags(state) == set()
    assert (state.session_id, state.options, state.letters) == ("s1", {}, {})


def test_the_first_system_frame_makes_it_ready(state, news):
    assert state.gateway_ready() is False

    assert flags(state) == {"is_ready"}
    assert len(news) == 1


def test_another_system_frame_makes_everything_due_again(state):
    state.gateway_ready()
    assert state.lines.next_due() > 1.0

    assert state.gateway_ready() is True

    assert flags(state) == {"is_ready", "has_changed"}
    state.sending_due(1.0)
    assert state.lines.next_due() == 1.0
    assert flags(state) == {"is_ready"}


def test_a_restart_makes_everything_due_once_only(state):
    state.gateway_ready()
    state.gateway_ready()
    state.sending_due(1.0)
    while state.lines.take_due(1.0) is not None:
        pass

    state.sending_due(2.0)

    assert state.lines.next_due() > 2.0


def test_a_first_frame_without_greeks_is_news(state, news):
    state.frame_came(CALL, 1.0, has_greeks=False)

    assert flags(state) == {"has_changed"}
    assert len(news) == 1
    assert state.quiet.warming() == 1


def test_the_first_greeks_are_news_and_usual_frames_are_none(state, news):
    state.frame_came(CALL, 1.0, has_greeks=True)
    assert flags(state) == {"has_changed"}
    state.sending_due(1.0)
    news.clear()

    state.frame_came(CALL, 2.0, has_greeks=True)
    state.frame_came(CALL, 3.0, has_greeks=False)

    assert flags(state) == set()
    assert news == []


def test_a_frame_that_answers_a_repeated_request_is_news(state):
    state.lines.request_again(CALL, 20.0)
    state.lines.take_due(20.0)

    state.frame_came(CALL, 21.0, has_greeks=True)

    assert flags(state) == {"has_changed"}
    assert state.lines.unanswered() == set()


@pytest.mark.parametrize("letter", "DYNO")
def test_data_that_are_not_live_are_news_when_they_come_and_when_they_end(
    state, letter
):
    state.letter_came(CALL, letter)
    assert flags(state) == {"has_changed"}
    assert state.letters == {CALL: letter}
    state.sending_due(1.0)

    state.letter_came(CALL, "R")

    assert flags(state) == {"has_changed"}


@pytest.mark.parametrize("letter", "RZ")
def test_usual_data_are_no_news(state, letter):
    state.letter_came(CALL, letter)

    assert flags(state) == set()


@pytest.mark.parametrize("lost_at", [START, None])
def test_a_doubt_is_shown_and_asked_about(state, news, lost_at):
    state.session_doubted(lost_at=lost_at)

    assert flags(state) == {"has_changed", "must_ask", "is_doubted", "shows_doubt"}
    assert len(news) == 1


def test_asking_settles_no_doubt(state):
    state.session_doubted(lost_at=None)

    state.asking()

    assert flags(state) == {"has_changed", "is_doubted", "shows_doubt"}


def test_a_failed_request_is_asked_about_and_no_doubt(state, news):
    state.request_failed()

    assert flags(state) == {"must_ask"}
    assert len(news) == 1


def test_a_session_that_is_regained_gives_the_first_time_of_its_loss(state):
    state.session_doubted(lost_at=None)
    state.session_doubted(lost_at=START)
    state.session_doubted(lost_at=START + timedelta(seconds=5))
    state.asking()

    assert state.session_regained() == START

    assert flags(state) == {"has_changed", "shows_doubt"}
    state.sending_due(1.0)
    assert state.lines.next_due() == 1.0


def test_a_loss_is_told_once(state):
    state.session_doubted(lost_at=START)
    state.session_regained()
    state.session_doubted(lost_at=None)

    assert state.session_regained() is None


def test_a_doubt_leaves_the_status_after_the_session_is_regained(state):
    state.session_doubted(lost_at=None)
    state.sending_due(1.0)
    state.doubt_shown()
    assert "shows_doubt" in flags(state)
    state.session_regained()
    state.sending_due(2.0)

    state.doubt_shown()

    assert flags(state) == {"has_changed", "must_ask"}


def test_no_doubt_to_show_is_no_news(state, news):
    state.doubt_shown()

    assert flags(state) == set()
    assert news == []


def test_a_renewed_session_is_the_one_to_name(state):
    state.session_renewed("s2")

    assert state.session_id == "s2"


def test_a_new_plan_drops_what_it_does_not_name(state):
    state.letter_came(PUT, "D")
    state.sending_due(1.0)
    plan = make_plan(CALL)

    assert state.plan_changed(plan, 1.0) == [PUT]

    assert flags(state) == {"has_changed"}
    assert state.options == plan.options
    assert state.letters == {}
    assert PUT not in state.lines
    assert PUT not in state.quiet.without_greeks(1_000.0)


def test_the_same_plan_drops_nothing(state):
    assert state.plan_changed(make_plan(CALL, PUT), 1.0) == []
    assert state.lines.next_due() > 1.0


def make_shared_plan(*shared, own=()):
    everything = make_plan(*own, *shared)
    return Plan(everything.options, own, shared, 1)


def request_everything(state, now):
    while (conid := state.lines.take_due(now)) is not None:
        yield conid


def test_contracts_that_begin_to_share_a_line_answer_anew(state):
    dropped = state.plan_changed(make_shared_plan(CALL, PUT), 1.0)

    assert dropped == [PUT] or dropped == [CALL]
    [in_turn] = state.rotation.in_turn
    assert [in_turn, *dropped] in ([CALL, PUT], [PUT, CALL])
    assert list(request_everything(state, 1.0)) == [in_turn]
    assert CALL in state
    assert PUT in state


def test_a_contract_that_gets_a_line_of_its_own_answers_anew(state):
    state.plan_changed(make_shared_plan(CALL, PUT), 1.0)
    list(request_everything(state, 1.0))

    assert state.plan_changed(make_plan(CALL, PUT), 2.0) == []

    assert set(request_everything(state, 2.0)) == {CALL, PUT}
    assert state.lines.unanswered() == set()
    assert state.rotation.in_turn == ()


def test_a_contract_between_its_turns_is_neither_silent_nor_unanswered(state):
    state.plan_changed(make_shared_plan(CALL, PUT), 1.0)
    waiting = ({CALL, PUT} - set(state.rotation.in_turn)).pop()

    assert waiting not in state.lines
    assert waiting not in state.quiet.without_greeks(10_000.0)
    assert waiting not in state.quiet.silent(10_000.0)
    assert waiting in state


def test_turns_change_their_line(state):
    state.plan_changed(make_shared_plan(CALL, PUT), 1.0)
    [first] = state.rotation.in_turn
    list(request_everything(state, 1.0))
    assert state.turns_due(5.0) == ([], [])
    state.frame_came(first, 2.0, has_greeks=True)

    dropped, begun = state.turns_due(100.0)

    assert (dropped, [*dropped, *begun]) in (
        ([CALL], [CALL, PUT]),
        ([PUT], [PUT, CALL]),
    )
    assert list(request_everything(state, 100.0)) == begun


def test_the_first_greeks_of_a_turn_are_news(state, news):
    state.plan_changed(make_shared_plan(CALL, PUT), 1.0)
    list(request_everything(state, 1.0))
    state.sending_due(1.0)
    news.clear()
    [first] = state.rotation.in_turn

    state.frame_came(first, 2.0, has_greeks=True)
    state.sending_due(2.0)
    state.frame_came(first, 3.0, has_greeks=True)

    assert len(news) == 1


def test_letters_stay_between_the_turns_and_end_with_the_contract(state):
    state.letter_came(CALL, "D")
    state.letter_came(PUT, "D")

    state.plan_changed(make_shared_plan(CALL, PUT), 1.0)
    assert set(state.letters) == {CALL, PUT}

    state.plan_changed(make_plan(CALL), 2.0)
    assert set(state.letters) == {CALL}


def test_a_conid_that_has_become_another_contract_waits_for_its_turn_anew(state):
    state.plan_changed(make_shared_plan(CALL, PUT), 1.0)
    list(request_everything(state, 1.0))
    [first] = state.rotation.in_turn
    state.frame_came(first, 2.0, has_greeks=True)
    plan = make_shared_plan(CALL, PUT)
    wanted = plan.options[first]
    other = replace(wanted.contract, contract_key="another key")
    plan.options[first] = replace(wanted, contract=other)

    assert state.plan_changed(plan, 3.0) == [first]

    assert state.rotation.in_turn == ()
    assert not state.rotation.has_greeks(first)
