"""What a look at the gate asks for: everything that is lacking, nothing that is done, and it comes to rest."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.gate import RETRY, Duty, Round, admission, expulsion, named, plan, wanted
from models.ledger import Admission
from models.mesh import NodeId
from models.remedy import ActionState, OperationId, Verb

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NODE = NodeId("n0")
ANNA, BORIS = "10.45.0.2", "fd45::2"
HOUR = timedelta(hours=1)


def admitted(address: str = ANNA, until: datetime = NOW + HOUR, licence: str = "l1") -> Admission:
    return Admission(licence, "lab", NODE, address, until)


def duty(action, state=ActionState.COMMITTED, *, epoch: int = 1, at: datetime = NOW) -> Duty:
    return Duty(OperationId("d"), action, epoch, state, at)


def look(standing, duties, *, now: datetime = NOW, epoch: int = 1) -> Round:
    return plan(standing, duties, node=NODE, epoch=epoch, now=now)


def test_the_longer_of_two_licences_counts_and_what_ran_out_or_was_closed_does_not():
    rows = [
        admitted(),
        admitted(until=NOW + 2 * HOUR, licence="l2"),
        admitted(BORIS, NOW),
        replace(admitted("10.45.0.3"), closed_at=NOW),
    ]
    assert wanted(rows, now=NOW) == {ANNA: NOW + 2 * HOUR}


def test_a_new_address_is_let_in_and_one_that_stands_is_left_alone():
    standing = {ANNA: NOW + HOUR, BORIS: NOW + HOUR}
    done = duty(admission(NODE, ANNA, NOW + HOUR))
    assert look(standing, [done]) == Round((admission(NODE, BORIS, NOW + HOUR),), ())


def test_a_longer_hour_is_asked_for():
    done = duty(admission(NODE, ANNA, NOW + HOUR))
    assert look({ANNA: NOW + 2 * HOUR}, [done]).due == (admission(NODE, ANNA, NOW + 2 * HOUR),)


def test_an_address_that_stands_no_longer_is_expelled_and_then_forgotten():
    done = duty(admission(NODE, ANNA, NOW + HOUR))
    assert look({}, [done]) == Round((expulsion(NODE, ANNA),), ())
    assert look({}, [duty(expulsion(NODE, ANNA), ActionState.REQUESTED)]) == Round((), ())
    assert look({}, [duty(expulsion(NODE, ANNA))]) == Round((), (ANNA,))


def test_an_hour_that_passed_needs_no_expulsion():
    assert look({}, [duty(admission(NODE, ANNA, NOW))]) == Round((), (ANNA,))


@pytest.mark.parametrize("state", [ActionState.REFUSED, ActionState.FAILED, ActionState.UNDONE])
def test_what_a_node_did_not_do_is_asked_again_after_a_while(state: ActionState):
    action = admission(NODE, ANNA, NOW + HOUR)
    for failed, standing in ((action, {ANNA: NOW + HOUR}), (expulsion(NODE, ANNA), {})):
        assert look(standing, [duty(failed, state)]).due == ()
        assert look(standing, [duty(failed, state)], now=NOW + RETRY).due == (failed,)


def test_a_new_epoch_asks_for_everything_anew():
    action = admission(NODE, ANNA, NOW + HOUR)
    assert look({ANNA: NOW + HOUR}, [duty(action)], epoch=2).due == (action,)


def test_each_asking_has_a_name_of_its_own():
    action = admission(NODE, ANNA, NOW + HOUR)
    first, what = named(action, epoch=1, now=NOW)
    again, the_same = named(action, epoch=1, now=NOW + RETRY)
    assert (first != again, what == the_same) == (True, True)
    assert named(expulsion(NODE, ANNA), epoch=1, now=NOW)[1] != what


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 5)),
    st.dictionaries(
        st.sampled_from("abcd"),
        st.tuples(st.sampled_from(list(ActionState)), st.integers(-2, 5) | st.none(), st.integers(1, 2)),
    ),
)
def test_a_node_that_does_as_it_is_told_ends_as_it_should_be_and_then_nothing_is_asked(hours, before):
    standing = {one: NOW + hour * HOUR for one, hour in hours.items()}
    duties = {
        one: duty(expulsion(NODE, one) if hour is None else admission(NODE, one, NOW + hour * HOUR), state, epoch=epoch)
        for one, (state, hour, epoch) in before.items()
    }
    # What was asked and not answered is answered first, as the courier does.
    duties = {
        one: replace(known, state=ActionState.COMMITTED) if known.state is ActionState.REQUESTED else known
        for one, known in duties.items()
    }
    now = NOW + RETRY
    for _ in range(3):
        todo = look(standing, duties.values(), now=now)
        duties |= {str(one.arguments["address"]): duty(one, at=now) for one in todo.due}
        for one in todo.over:
            del duties[one]
    kept = {
        one.address: one.action.arguments["until"]
        for one in duties.values()
        if one.action.verb is Verb.ADMIT and one.state in {ActionState.COMMITTED, ActionState.APPLIED}
    }
    assert kept == {one: int(until.timestamp()) for one, until in standing.items()}
    assert look(standing, duties.values(), now=now) == Round((), ())
