"""What every `Store` promises, part two: incidents, operations, decisions, guards and knowledge."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from models.errors import DecisionRefused, RefusedError, RemedyRejected
from models.incident import FaultKind, IncidentId, IncidentState, Outcome, OutcomeKind, Verdict
from models.ports import Store, UnitOfWork
from models.remedy import (
    ActionState,
    Closing,
    GuardState,
    OperationRecord,
    Prior,
    Remedy,
    RemedyName,
)
from tests.contracts.store_examples import (
    LINK,
    MESH,
    N0,
    N1,
    OTHER_LINK,
    START,
    UNKNOWN_OPERATION,
    UNKNOWN_PLAN,
    after,
    decision,
    diagnosis,
    incident,
    operation,
    outcome,
    remedy,
    report,
    set_cost,
    signed_closing,
    signed_order,
    verification,
)


async def requested(unit: UnitOfWork, chosen: Remedy, index: int = 0) -> OperationRecord:
    record = operation(chosen, index)
    await unit.actions.request(MESH, record, signed_order(record))
    return record


class IncidentContract:
    """Incidents and everything told about them."""

    async def test_an_incident_comes_back_as_it_went_infinite_strength_included(self, store: Store):
        async with store.unit() as unit:
            await unit.incidents.save(incident())
            assert await unit.incidents.get(IncidentId("i1")) == incident()
            assert await unit.incidents.get(IncidentId("nobody")) is None

    async def test_saving_twice_equals_once_and_saving_anew_updates(self, store: Store):
        async with store.unit() as unit:
            await unit.incidents.save(incident())
            await unit.incidents.save(incident())
            await unit.incidents.save(incident(state=IncidentState.CLOSED))
            assert await unit.incidents.recent(MESH) == [incident(state=IncidentState.CLOSED)]

    async def test_open_ones_come_oldest_first_and_recent_ones_newest_first(self, store: Store):
        old, new = incident("b", at=after(1)), incident("a", at=after(2))
        closed, foreign = incident("c", IncidentState.CLOSED), incident("d", mesh_name="other")
        async with store.unit() as unit:
            for one in (new, closed, foreign, old):
                await unit.incidents.save(one)
            assert await unit.incidents.open(MESH) == [old, new]
            assert await unit.incidents.recent(MESH) == [new, old, closed]
            assert await unit.incidents.recent(MESH, 1) == [new]

    @pytest.mark.parametrize(
        "contradiction",
        [
            replace(incident(), closed_at=after(1)),
            replace(incident(state=IncidentState.CLOSED), closed_at=None),
        ],
    )
    async def test_closed_and_its_instant_belong_together(self, store: Store, contradiction):
        with pytest.raises(RefusedError, match="closed_at"):
            async with store.unit() as unit:
                await unit.incidents.save(contradiction)

    async def test_a_locked_incident_is_read_by_the_next_only_after_the_change(self, store: Store):
        async with store.unit() as unit:
            await unit.incidents.save(incident())

        async def escalate() -> IncidentState:
            async with store.unit() as unit:
                found = await unit.incidents.get(IncidentId("i1"), for_update=True)
                assert found is not None
                await asyncio.sleep(0.02)
                await unit.incidents.save(replace(found, state=IncidentState.ESCALATED))
                return found.state

        assert sorted(await asyncio.gather(escalate(), escalate())) == [IncidentState.ESCALATED, IncidentState.OPEN]

    async def test_incidents_listed_to_be_changed_are_not_changed_by_another_meanwhile(self, store: Store):
        async with store.unit() as unit:
            await unit.incidents.save(incident())

        async def move(to: IncidentState) -> None:
            async with store.unit() as unit:
                found = await unit.incidents.get(IncidentId("i1"), for_update=True)
                assert found is not None
                await unit.incidents.save(replace(found, state=to))

        async def look() -> None:
            async with store.unit() as unit:
                (found,) = await unit.incidents.open("lab", for_update=True)
                await asyncio.sleep(0.02)
                await unit.incidents.save(replace(found, symptoms=incident().symptoms))

        looking = asyncio.create_task(look())
        await asyncio.sleep(0.005)
        await asyncio.gather(looking, move(IncidentState.HEALING))
        async with store.unit() as unit:
            (now,) = await unit.incidents.open("lab")
        assert now.state is IncidentState.HEALING

    async def test_a_story_holds_every_part_in_order_and_writing_twice_equals_once(self, store: Store):
        chosen, later = remedy(), remedy(kind=RemedyName.RESTART_DAEMON, at=after(1))
        async with store.unit() as unit:
            await unit.incidents.save(incident(state=IncidentState.AWAITING_APPROVAL))
            for _ in range(2):
                for at in (after(2), after(1)):
                    await unit.incidents.record_diagnosis(diagnosis(at=at))
                await unit.incidents.record_remedy(later)
                await unit.incidents.record_remedy(chosen)
                await requested(unit, chosen, 1)
                await requested(unit, chosen, 0)
                await unit.incidents.record_verification(verification(chosen, at=after(12)))
                await unit.incidents.record_verification(verification(chosen, Verdict.INCONCLUSIVE, at=after(10)))
                await unit.incidents.record_outcome(outcome(chosen))
            await unit.decisions.post(decision(chosen))
        async with store.unit() as unit:
            story = await unit.incidents.story(IncidentId("i1"))
            assert story is not None
            assert story.incident.state is IncidentState.AWAITING_APPROVAL
            assert story.diagnoses == (diagnosis(at=after(1)), diagnosis(at=after(2)))
            assert story.remedies == (chosen, later)
            assert story.operations == (operation(chosen, 1), operation(chosen, 0))
            assert [one.verdict for one in story.verifications] == [Verdict.INCONCLUSIVE, Verdict.HEALED]
            assert story.decisions == (decision(chosen),)
            assert story.outcomes == (outcome(chosen),)
            assert await unit.incidents.story(IncidentId("nobody")) is None

    async def test_a_remedy_is_found_by_its_hash_and_newer_evidence_replaces_older(self, store: Store):
        async with store.unit() as unit:
            await unit.incidents.save(incident())
            await unit.incidents.record_remedy(remedy(at=after(5)))
            await unit.incidents.record_remedy(remedy(at=after(1)))
            assert await unit.incidents.remedy(remedy().plan_hash) == remedy(at=after(5))
            assert await unit.incidents.remedy(UNKNOWN_PLAN) is None

    async def test_what_belongs_to_no_incident_is_refused(self, store: Store):
        with pytest.raises(RefusedError):
            async with store.unit() as unit:
                await unit.incidents.record_diagnosis(diagnosis("nobody"))


class OutcomeContract:
    """What may be called fixed, and what is learned from it."""

    async def test_fixed_without_a_verification_is_refused(self, store: Store):
        with pytest.raises(RefusedError, match="healed"):  # noqa: PT012 - it must leave the unit by the exceptional door
            async with store.unit() as unit:
                await unit.incidents.save(incident())
                await unit.incidents.record_outcome(outcome(remedy()))

    async def test_fixed_by_another_plans_verification_is_refused(self, store: Store):
        another = remedy(kind=RemedyName.RESTART_DAEMON)
        with pytest.raises(RefusedError, match="healed"):  # noqa: PT012 - it must leave the unit by the exceptional door
            async with store.unit() as unit:
                await unit.incidents.save(incident())
                await unit.incidents.record_verification(verification(another))
                await unit.incidents.record_outcome(outcome(remedy()))

    async def test_fixed_by_a_verification_that_says_not_healed_is_refused(self, store: Store):
        with pytest.raises(RefusedError, match="healed"):  # noqa: PT012 - it must leave the unit by the exceptional door
            async with store.unit() as unit:
                await unit.incidents.save(incident())
                await unit.incidents.record_verification(verification(remedy(), Verdict.NOT_HEALED))
                await unit.incidents.record_outcome(outcome(remedy()))

    async def test_a_dry_run_is_refused(self, store: Store):
        with pytest.raises(RefusedError, match="dry run"):  # noqa: PT012 - it must leave the unit by the exceptional door
            async with store.unit() as unit:
                await unit.incidents.save(incident())
                await unit.incidents.record_outcome(outcome(remedy(), OutcomeKind.DRY_RUN))

    async def test_a_quiet_turn_leaves_nothing(self, store: Store):
        async with store.unit() as unit:
            await unit.incidents.record_outcome(Outcome(None, None, "nothing to heal", "", START))
            assert await unit.incidents.outcome_counts(MESH) == {}

    async def test_an_outcome_that_was_awaited_becomes_what_it_came_to(self, store: Store):
        async with store.unit() as unit:
            await unit.incidents.save(incident())
            await unit.incidents.record_outcome(outcome(remedy(), OutcomeKind.AWAITING_APPROVAL))
            assert await unit.incidents.outcome_counts(MESH) == {OutcomeKind.AWAITING_APPROVAL: 1}
            await unit.incidents.record_verification(verification(remedy()))
            await unit.incidents.record_outcome(outcome(remedy()))
            assert await unit.incidents.outcome_counts(MESH) == {OutcomeKind.FIXED: 1}
            assert await unit.incidents.outcome_counts("other") == {}
            proven = outcome(remedy()).at
            assert await unit.incidents.fixed_since(MESH, proven - timedelta(seconds=1)) == 1
            assert await unit.incidents.fixed_since(MESH, proven) == 0
            assert await unit.incidents.fixed_since("other", proven - timedelta(seconds=1)) == 0

    async def test_priors_count_verified_endings_by_fault_and_remedy(self, store: Store):
        endings = [
            OutcomeKind.FIXED,
            OutcomeKind.NO_EFFECT,
            OutcomeKind.WORSE_UNDONE,
            OutcomeKind.AMBIGUOUS,
            OutcomeKind.REFUSED,
            OutcomeKind.FIXED_BY_ITSELF,
        ]
        async with store.unit() as unit:
            for number, kind in enumerate(endings):
                chosen = remedy(f"i{number}")
                await unit.incidents.save(incident(f"i{number}"))
                await unit.incidents.record_remedy(chosen)
                await unit.incidents.record_verification(verification(chosen))
                await unit.incidents.record_outcome(outcome(chosen, kind))
            restarted = remedy("i0", kind=RemedyName.RESTART_DAEMON, fault=FaultKind.DAEMON_HUNG)
            await unit.incidents.record_remedy(restarted)
            await unit.incidents.record_verification(verification(restarted))
            await unit.incidents.record_outcome(outcome(restarted))
            assert await unit.knowledge.priors(MESH) == {
                (FaultKind.GREY, RemedyName.COST_OUT_LINK): Prior(fixed=1, failed=3),
                (FaultKind.DAEMON_HUNG, RemedyName.RESTART_DAEMON): Prior(fixed=1, failed=0),
            }
            assert await unit.knowledge.priors("other") == {}


class ActionContract:
    """The ledger of operations, and the post between control and nodes."""

    async def test_a_request_is_kept_posted_and_in_flight(self, store: Store):
        async with store.unit() as unit:
            await unit.incidents.save(incident())
            record = await requested(unit, remedy())
            assert await unit.actions.get(record.operation) == record
            assert await unit.actions.get(UNKNOWN_OPERATION) is None
            assert await unit.actions.in_flight(MESH) == [record]
            assert await unit.actions.in_flight("other") == []
            assert await unit.actions.post_for(MESH, N0) == [(record.operation, signed_order(record))]
            assert await unit.actions.post_for(MESH, N1) == []
            assert await unit.actions.post_for("other", N0) == []

    async def test_requesting_twice_changes_nothing_even_after_a_report(self, store: Store):
        async with store.unit() as unit:
            await unit.incidents.save(incident())
            record = await requested(unit, remedy())
            await unit.actions.report(MESH, N0, report(record))
            await requested(unit, remedy())
            found = await unit.actions.get(record.operation)
            assert found is not None
            assert found.state is ActionState.APPLIED
            assert await unit.actions.state_counts(MESH) == {ActionState.APPLIED: 1}
            assert await unit.actions.state_counts("other") == {}

    async def test_one_plan_may_write_twice_to_one_element(self, store: Store):
        async with store.unit() as unit:
            await unit.incidents.save(incident())
            both = [await requested(unit, remedy(), index) for index in (0, 1)]
            assert await unit.actions.of_plan(remedy().plan_hash) == both
            assert await unit.actions.of_plan(UNKNOWN_PLAN) == []

    async def test_another_plan_on_the_same_element_is_rejected_and_the_unit_goes_on(self, store: Store):
        rival = remedy(kind=RemedyName.RESTART_DAEMON)
        async with store.unit() as unit:
            await unit.incidents.save(incident())
            await requested(unit, remedy())
            with pytest.raises(RemedyRejected, match="n0--n1"):
                await requested(unit, rival)
            elsewhere = remedy(kind=RemedyName.RESTART_DAEMON, actions=(set_cost(element=OTHER_LINK),))
            await requested(unit, elsewhere)
        async with store.unit() as unit:
            assert len(await unit.actions.in_flight(MESH)) == 2

    async def test_of_two_plans_at_the_same_time_one_is_rejected(self, store: Store):
        async with store.unit() as unit:
            await unit.incidents.save(incident())

        async def try_with(chosen: Remedy) -> bool:
            try:
                async with store.unit() as unit:
                    await requested(unit, chosen)
                    await asyncio.sleep(0.02)
            except RefusedError:
                return False
            return True

        rivals = remedy(), remedy(kind=RemedyName.RESTART_DAEMON)
        assert sorted(await asyncio.gather(*map(try_with, rivals))) == [False, True]

    async def test_a_closed_operation_frees_its_element(self, store: Store):
        async with store.unit() as unit:
            await unit.incidents.save(incident())
            record = await requested(unit, remedy())
            await unit.actions.report(MESH, N0, report(record, ActionState.UNDONE))
            await requested(unit, remedy(kind=RemedyName.RESTART_DAEMON))
            assert len(await unit.actions.in_flight(MESH)) == 1

    async def test_only_a_newer_report_counts(self, store: Store):
        async with store.unit() as unit:
            await unit.incidents.save(incident())
            record = await requested(unit, remedy())
            committed = report(record, ActionState.COMMITTED, at=after(5))
            await unit.actions.report(MESH, N0, committed)
            await unit.actions.report(MESH, N0, report(record, at=after(2)))
            found = await unit.actions.get(record.operation)
            assert found == replace(record, state=ActionState.COMMITTED, report=committed)

    async def test_a_report_from_another_node_or_about_the_unknown_changes_nothing(self, store: Store):
        async with store.unit() as unit:
            await unit.incidents.save(incident())
            record = await requested(unit, remedy())
            await unit.actions.report(MESH, N1, report(record))
            await unit.actions.report("other", N0, report(record))
            await unit.actions.report(MESH, N0, replace(report(record), operation=UNKNOWN_OPERATION))
            assert await unit.actions.get(record.operation) == record

    async def test_a_commit_waits_until_the_node_says_committed(self, store: Store):
        async with store.unit() as unit:
            await unit.incidents.save(incident())
            record = await requested(unit, remedy())
            await unit.actions.report(MESH, N0, report(record))
            assert await unit.actions.post_for(MESH, N0) == []
            for _ in range(2):
                await unit.actions.close(record.operation, signed_closing(record))
            assert await unit.actions.post_for(MESH, N0) == [(record.operation, signed_closing(record))]
            await unit.actions.report(MESH, N0, report(record, ActionState.COMMITTED, at=after(9)))
            assert await unit.actions.post_for(MESH, N0) == []

    async def test_an_undo_of_a_committed_change_waits_until_the_node_says_undone(self, store: Store):
        undo = Closing.UNDO
        async with store.unit() as unit:
            await unit.incidents.save(incident())
            record = await requested(unit, remedy())
            await unit.actions.close(record.operation, signed_closing(record))
            await unit.actions.close(record.operation, signed_closing(record, undo))
            await unit.actions.report(MESH, N0, report(record, ActionState.COMMITTED))
            assert await unit.actions.post_for(MESH, N0) == [(record.operation, signed_closing(record, undo))]
            await unit.actions.report(MESH, N0, report(record, ActionState.UNDONE, at=after(9)))
            assert await unit.actions.post_for(MESH, N0) == []

    async def test_the_post_is_oldest_first_and_an_order_comes_before_its_closing(self, store: Store):
        first, second = remedy(), remedy(kind=RemedyName.RESTART_DAEMON, actions=(set_cost(element=OTHER_LINK),))
        async with store.unit() as unit:
            await unit.incidents.save(incident())
            older, newer = await requested(unit, first), await requested(unit, second)
            await unit.actions.close(older.operation, signed_closing(older, Closing.UNDO))
            assert await unit.actions.post_for(MESH, N0) == [
                (older.operation, signed_order(older)),
                (older.operation, signed_closing(older, Closing.UNDO)),
                (newer.operation, signed_order(newer)),
            ]

    async def test_only_a_known_operation_can_be_closed_and_only_by_a_closing_order(self, store: Store):
        record = operation(remedy())
        async with store.unit() as unit:
            await unit.incidents.save(incident())
            with pytest.raises(RefusedError, match="unknown"):
                await unit.actions.close(UNKNOWN_OPERATION, signed_closing(record))
            await requested(unit, remedy())
            with pytest.raises(RefusedError, match="closing order"):
                await unit.actions.close(record.operation, signed_order(record))


class StandingContract:
    """Which committed costs stand."""

    async def committed(self, unit: UnitOfWork, chosen: Remedy, seconds: float) -> OperationRecord:
        record = await requested(unit, chosen)
        last = report(record, ActionState.COMMITTED, at=after(seconds))
        await unit.actions.report(MESH, record.action.node, last)
        return replace(record, state=ActionState.COMMITTED, report=last)

    async def test_a_committed_cost_stands_until_it_is_replaced(self, store: Store):
        again = remedy(actions=(set_cost(cost=6000),))
        async with store.unit() as unit:
            await unit.incidents.save(incident())
            first = await self.committed(unit, remedy(), 1)
            assert await unit.actions.standing(MESH) == [first]
            assert await unit.actions.standing("other") == []
            second = await self.committed(unit, again, 2)
            assert await unit.actions.standing(MESH) == [second]

    async def test_a_cost_put_back_stands_no_longer(self, store: Store):
        back = remedy(kind=RemedyName.UNCOST_LINK, actions=(set_cost(cost=96),))
        elsewhere = remedy(actions=(set_cost(interface="to-n2", element=OTHER_LINK),))
        async with store.unit() as unit:
            await unit.incidents.save(incident())
            await self.committed(unit, remedy(), 1)
            other = await self.committed(unit, elsewhere, 2)
            await self.committed(unit, back, 3)
            assert await unit.actions.standing(MESH) == [other]

    async def test_applied_and_undone_costs_and_other_verbs_do_not_stand(self, store: Store):
        async with store.unit() as unit:
            await unit.incidents.save(incident())
            record = await requested(unit, remedy())
            await unit.actions.report(MESH, N0, report(record))
            assert await unit.actions.standing(MESH) == []
            await unit.actions.report(MESH, N0, report(record, ActionState.UNDONE, at=after(9)))
            assert await unit.actions.standing(MESH) == []


class GuardContract:
    """The guards' memory."""

    async def test_a_state_comes_back_as_it_went(self, store: Store):
        state = GuardState(
            paused=True,
            cooldown_until={str(LINK): after(60)},
            strikes={f"{LINK}/grey": 2},
            flap={str(LINK): (1000.5, START)},
            recent=(START, after(1)),
        )
        async with store.unit() as unit:
            assert await unit.guards.load(MESH) == GuardState()
            await unit.guards.save(MESH, state)
            await unit.guards.save(MESH, state)
        async with store.unit() as unit:
            assert await unit.guards.load(MESH) == state
            assert await unit.guards.load("other") == GuardState()

    async def test_two_who_load_change_and_save_at_once_both_count(self, store: Store):
        async def count_one() -> None:
            async with store.unit() as unit:
                state = await unit.guards.load(MESH)
                await asyncio.sleep(0.02)
                await unit.guards.save(MESH, replace(state, recent=(*state.recent, START)))

        await asyncio.gather(*(count_one() for _ in range(4)))
        async with store.unit() as unit:
            assert len((await unit.guards.load(MESH)).recent) == 4


class DecisionContract:
    """People's answers."""

    async def waiting(self, unit: UnitOfWork, state: IncidentState = IncidentState.AWAITING_APPROVAL) -> None:
        await unit.incidents.save(incident(state=state))
        await unit.incidents.record_remedy(remedy())

    async def test_a_decision_is_taken_once(self, store: Store):
        async with store.unit() as unit:
            await self.waiting(unit)
            await unit.decisions.post(decision(remedy()))
            assert await unit.decisions.unused(MESH) == [decision(remedy())]
            assert await unit.decisions.unused("other") == []
            assert await unit.decisions.take(remedy().plan_hash) == decision(remedy())
            assert await unit.decisions.take(remedy().plan_hash) is None
            assert await unit.decisions.take(UNKNOWN_PLAN) is None
            assert await unit.decisions.unused(MESH) == []

    async def test_of_two_who_take_at_once_one_gets_it(self, store: Store):
        async with store.unit() as unit:
            await self.waiting(unit)
            await unit.decisions.post(decision(remedy()))

        async def take() -> bool:
            async with store.unit() as unit:
                taken = await unit.decisions.take(remedy().plan_hash)
                await asyncio.sleep(0.02)
            return taken is not None

        assert sorted(await asyncio.gather(take(), take())) == [False, True]

    async def test_a_second_decision_on_a_plan_is_refused_also_after_use(self, store: Store):
        async with store.unit() as unit:
            await self.waiting(unit)
            await unit.decisions.post(decision(remedy()))
            await unit.decisions.take(remedy().plan_hash)
            with pytest.raises(DecisionRefused, match="already"):
                await unit.decisions.post(decision(remedy()))

    async def test_a_plan_that_waits_for_nobody_cannot_be_decided(self, store: Store):
        async with store.unit() as unit:
            with pytest.raises(DecisionRefused):
                await unit.decisions.post(decision(remedy()))
            await self.waiting(unit, IncidentState.HEALING)
            with pytest.raises(DecisionRefused):
                await unit.decisions.post(decision(remedy()))
            await self.waiting(unit)
            with pytest.raises(DecisionRefused):
                await unit.decisions.post(decision(remedy(kind=RemedyName.RESTART_DAEMON)))
