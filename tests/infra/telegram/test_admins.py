"""Those who look after payments and the mesh."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.lab.telegram.world import Person
from models.incident import IncidentId, IncidentState
from models.payment import OrderState, Provider
from models.payment_matching import Unmatched
from models.remedy import DecisionKind
from tests.fakes.chains.examples import paid
from tests.infra.api.world import MESH, incident, tell_a_story
from tests.infra.shop.counter import NOON, scanned
from tests.infra.telegram.stage import ADMIN, BORIS, Stage, on_stage, until
from tests.infra.telegram.test_customers import bought, order_of


@pytest.fixture
async def admin(stage: Stage) -> Person:
    somebody = stage.person(ADMIN)
    await stage.say(somebody, "/start", hears="sell access")
    return somebody


async def held(stage: Stage):
    anna = stage.person()
    await bought(stage, anna)
    return await order_of(stage, anna)


# --- payments ---


async def test_nothing_pending_says_so(stage: Stage, admin):
    await stage.say(admin, "/pending", hears="nothing waits for a person")
    await stage.say(admin, "/hold", hears="no order is on hold")
    await stage.say(admin, "/unmatched", hears="every transfer is some order's")


async def test_an_order_is_held_and_confirmed_with_a_reason_and_both_are_kept(stage: Stage, admin):
    order = await held(stage)
    await stage.say(admin, f"/hold {order.id} the amount looks odd", hears=f"{order.id} HOLD")
    await stage.say(admin, "/pending", hears=f"HOLD {order.id}")
    await stage.say(admin, "/hold", hears=f"{order.id} HOLD")
    await stage.say(admin, f"/confirm {order.id} seen on the explorer", hears=f"{order.id} SETTLED manual")
    history = await stage.say(admin, f"/order {order.id}", hears="the amount looks odd")
    assert f"confirm by telegram:{ADMIN}: seen on the explorer" in history.text


async def test_a_confirmed_order_earns_its_licence(stage: Stage, admin):
    order = await held(stage)
    await stage.say(admin, f"/confirm {order.id} paid in cash", hears="SETTLED")
    await stage.hears(stage.person(), "Here is your licence")


@pytest.mark.parametrize("command", ["confirm", "hold"])
async def test_a_decision_without_a_reason_is_none(stage: Stage, admin, command):
    order = await held(stage)
    await stage.say(admin, f"/{command} {order.id}", hears=f"/{command} ORDER REASON")
    assert (await stage.shop.sale(order.id)).order.state is OrderState.NEW


async def test_a_customer_confirms_nothing(stage: Stage):
    order = await held(stage)
    await stage.say(stage.person(), f"/confirm {order.id} please", hears="I do not know that")
    assert (await stage.shop.sale(order.id)).order.state is OrderState.NEW


async def test_an_order_nobody_knows_is_said_to_be_unknown(stage: Stage, admin):
    await stage.say(admin, "/order ord-22222222", hears="ord-22222222")
    await stage.say(admin, "/order", hears="/order ORDER")


async def test_a_refund_is_noted(stage: Stage, admin):
    order = await held(stage)
    await stage.pay(order.id)
    await stage.say(admin, f"/refund_note {order.id} sent back by hand", hears="REFUNDED")
    await stage.say(admin, f"/refund_note {order.id}", hears="/refund_note ORDER HOW")


async def test_a_transfer_that_is_nobodys_is_listed(stage: Stage, admin, store):
    async with store.unit() as unit:
        await unit.ledger.set_aside([(paid(123_000_000), Unmatched.NO_ORDER)], now=NOON)
    await stage.say(admin, "/unmatched", hears="no_order: 123 USDT")
    await stage.say(admin, "/pending", hears="1 transfers are no order's")


async def test_providers_tell_how_fresh_they_are_and_who_is_away(stage: Stage, admin, store, clock):
    await scanned(store, at=clock.now(), failing="HTTP 503", provider=Provider.TRONGRID)
    clock.pass_by(seconds=4)
    said = await stage.say(admin, "/providers", hears="tronscan: read 4 s ago")
    assert "trongrid: away since" in said.text
    assert "HTTP 503" in said.text
    assert "toncenter: never read" in said.text


async def test_stats_count(stage: Stage, admin):
    await held(stage)
    await stage.say(admin, "/stats", hears="orders: NEW 1")


# --- the mesh ---


async def test_the_mesh_is_told(stage: Stage, admin, store):
    await stage.say(admin, "/mesh", hears="no mesh is declared under the name lab")
    await stage.say(admin, "/incidents", hears="no incident was ever seen")
    async with store.unit() as unit:
        await unit.meshes.save(MESH)
        await unit.incidents.save(incident(state=IncidentState.CLOSED))
    said = await stage.say(admin, "/mesh", hears="mesh lab: 3 nodes, 2 links")
    assert "n0 heard never" in said.text
    await stage.say(admin, "/incidents", hears="i-1 closed")
    await stage.say(admin, "/incidents i-1", hears="incident i-1")


@pytest.mark.parametrize(("text", "is_dry"), [("/heal", False), ("/heal dry-run", True)])
async def test_a_wish_to_heal_becomes_a_request_and_its_outcome_is_told(stage: Stage, admin, store, text, is_dry):
    await stage.say(admin, text, hears="of the cycle")
    async with store.unit() as unit:
        (request,) = await unit.requests.waiting("lab")
        assert (request.dry_run, request.asked_by) == (is_dry, f"telegram:{ADMIN}")
        await unit.requests.finish(request.id, "fixed: the link was costed out")
    await stage.hears(admin, "fixed: the link was costed out")


async def test_an_update_told_twice_is_one_request(stage: Stage, admin, store):
    number = stage.api.world.say(admin, "/heal")
    update = next(one for one in stage.api.world.updates if one["update_id"] == number)
    await stage.hears(admin, "a turn of the cycle")
    # Confirmed first: the poll that confirms it would take the second telling for the first, and drop it.
    await until(lambda: update not in stage.api.world.updates)
    stage.api.world.replay(update)
    await until(lambda: sum("a turn of the cycle" in one.text for one in admin.chat) == 2)
    async with store.unit() as unit:
        assert len(await unit.requests.waiting("lab")) == 1


async def test_a_misspelt_wish_changes_nothing(stage: Stage, admin, store):
    await stage.say(admin, "/heal dryrun", hears="/heal dry-run")
    async with store.unit() as unit:
        assert await unit.requests.waiting("lab") == []


async def asked(stage: Stage, admin: Person, store):
    """Let a plan wait, and return it with the question the admin is asked."""
    plan = await tell_a_story(store)
    async with store.unit() as unit:
        story = await unit.incidents.story(IncidentId("i-1"))
        # The story is told at its own noon; the question must be young on this stage's clock.
        await unit.incidents.record_outcome(replace(story.outcomes[0], at=stage.clock.now()))
    return plan, await stage.hears(admin, "a plan waits for you")


@pytest.mark.parametrize(("label", "kind"), [("Approve", DecisionKind.APPROVE), ("Deny", DecisionKind.DENY)])
async def test_a_plan_that_waits_is_asked_about_and_a_press_answers(stage: Stage, admin, store, label, kind):
    plan, question = await asked(stage, admin, store)
    assert plan.plan_hash in question.text
    await stage.press(admin, question, label)
    await stage.hears(admin, f"{kind.value}: a new run")
    async with store.unit() as unit:
        (decision,) = await unit.decisions.unused("lab")
    assert (decision.plan_hash, decision.kind, decision.decided_by) == (plan.plan_hash, kind, f"telegram:{ADMIN}")


async def test_a_plan_is_asked_about_once_and_answered_once(stage: Stage, admin, store):
    _, question = await asked(stage, admin, store)
    await stage.press(admin, question, "Approve")
    await stage.hears(admin, "approve: a new run")
    await stage.press(admin, question, "Deny")
    await stage.hears(admin, "decided already")
    async with store.unit() as unit:
        assert [one.kind for one in await unit.decisions.unused("lab")] == [DecisionKind.APPROVE]
    assert sum("a plan waits for you" in one.text for one in admin.chat) == 1


async def test_a_press_after_the_questions_time_approves_nothing(stage: Stage, admin, store, clock):
    _, question = await asked(stage, admin, store)
    clock.pass_by(minutes=11)
    await stage.press(admin, question, "Approve")
    assert admin.answers[-1].startswith("This button was used or has expired")
    async with store.unit() as unit:
        assert await unit.decisions.unused("lab") == []


async def test_another_persons_press_under_a_plan_approves_nothing(stage: Stage, admin, store):
    boris = stage.person(BORIS)
    await stage.say(boris, "/start", hears="sell access")
    _, question = await asked(stage, admin, store)
    await stage.press(boris, question, "Approve")
    assert boris.answers[-1].startswith("This button was used")
    async with store.unit() as unit:
        assert await unit.decisions.unused("lab") == []


async def test_who_is_no_admin_any_more_approves_nothing_with_an_old_button(stage: Stage, admin, store, clock):
    _, question = await asked(stage, admin, store)
    async with on_stage(store, clock, telegram_admins=()) as later:
        again = later.person(ADMIN)
        await later.say(again, "/start", hears="sell access")
        await later.press(again, question, "Approve")
        assert again.answers[-1].startswith("This button was used")
    async with store.unit() as unit:
        assert await unit.decisions.unused("lab") == []


async def test_a_plan_that_was_answered_elsewhere_is_not_asked_about_any_more(store, clock):
    await tell_a_story(store, state=IncidentState.CLOSED)
    async with on_stage(store, clock) as stage:
        admin = stage.person(ADMIN)
        await stage.say(admin, "/start", hears="sell access")
        await stage.say(admin, "/incidents", hears="i-1 closed")
        assert not any("a plan waits" in one.text for one in admin.chat)
