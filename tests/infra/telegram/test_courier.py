"""What the bot says unasked, and what happens when Telegram or a person is away."""

from __future__ import annotations

import pytest

from models.chat import Card
from models.ledger import Message, MessageKind
from models.payment import OrderState
from models.payment_state import Decision
from tests.infra.shop.counter import NOON
from tests.infra.telegram.stage import ADMIN, Stage, on_stage, until
from tests.infra.telegram.test_customers import bought, order_of


def alert(to: str = "admins", **facts: str) -> Message:
    return Message("a-1", MessageKind.ALERT, to, None, {"what": "disputed", **facts}, NOON)


async def put(store, message: Message) -> None:
    async with store.unit() as unit:
        await unit.outbox.put(message)


async def waiting(store, clock) -> list[str]:
    async with store.unit() as unit:
        return [one.key for one in await unit.outbox.waiting(now=clock.now())]


async def test_an_alert_reaches_the_admins(stage: Stage, store):
    admin = stage.person(ADMIN)
    await stage.say(admin, "/start", hears="sell access")
    await put(store, alert(reason="two providers <differ>"))
    said = await stage.hears(admin, "ALERT disputed")
    assert "reason: two providers <differ>" in said.text
    await until(lambda: stage.count("x0tta6bl4_telegram_messages_total", result="delivered") >= 2)


async def test_an_alert_with_nobody_to_read_it_waits(stage: Stage, store, clock):
    """The admin never wrote to the bot, so Telegram refuses; the alert is tried again and not lost."""
    await put(store, alert())
    await until(lambda: stage.count("x0tta6bl4_telegram_messages_total", result="refused") >= 1)
    clock.pass_by(minutes=6)
    admin = stage.person(ADMIN)
    await stage.say(admin, "/start", hears="sell access")
    await stage.hears(admin, "ALERT disputed")


async def test_what_buyers_over_the_api_are_told_does_not_pile_up(stage: Stage, store, clock):
    await put(store, alert("api:ben"))
    while await waiting(store, clock):
        await stage.say(stage.person(), "/start", hears="sell access")
    assert all(not one.by_bot or "ALERT" not in one.text for one in stage.person().chat)


async def test_a_licence_waits_for_who_blocked_the_bot(stage: Stage, clock):
    anna = stage.person()
    await bought(stage, anna)
    anna.has_blocked = True
    await stage.pay((await order_of(stage, anna)).id)
    # The card that cannot be changed, and the licence.
    await until(lambda: stage.count("x0tta6bl4_telegram_messages_total", result="refused") >= 2)
    anna.has_blocked = False
    clock.pass_by(minutes=6)
    await stage.hears(anna, "Here is your licence")


# The library's own error class warns of a change in the library's next version.
@pytest.mark.filterwarnings("ignore:Deprecated since version v22.2")
async def test_a_flood_is_waited_for_and_the_message_arrives_once(stage: Stage):
    anna = stage.person()
    stage.api.refuse("sendMessage", 429, "Too Many Requests: retry after 1", retry_after=1)
    await stage.say(anna, "/plans", hears="month")
    assert sum(one.by_bot for one in anna.chat) == 1


async def test_while_telegram_is_away_nothing_is_lost(stage: Stage, clock):
    anna = stage.person()
    await bought(stage, anna)
    stage.api.refuse("sendMessage", 502, "Bad Gateway")
    await stage.pay((await order_of(stage, anna)).id)
    await until(lambda: stage.count("x0tta6bl4_telegram_messages_total", result="failed") >= 1)
    clock.pass_by(minutes=6)
    await stage.hears(anna, "Here is your licence")
    assert sum("Here is your licence" in one.text for one in anna.chat) == 1


async def test_the_countdown_on_a_card_goes_on_by_itself(stage: Stage, clock):
    anna = stage.person()
    card = await bought(stage, anna)
    assert "60 minutes left" in card.text
    clock.pass_by(minutes=5)
    await until(lambda: "55 minutes left" in card.text)
    assert card.edits == 1


async def test_a_restarted_bot_goes_on_with_the_cards_of_the_one_before(store, clock):
    async with on_stage(store, clock) as first:
        anna = first.person()
        card = await bought(first, anna)
    clock.pass_by(minutes=5)
    async with on_stage(store, clock, api=first.api) as second:
        await until(lambda: "55 minutes left" in card.text)
        await second.press(anna, card, "Cancel")
        await second.hears(anna, "is cancelled")


async def test_a_card_that_was_deleted_is_let_go(stage: Stage, store, clock):
    anna = stage.person()
    card = await bought(stage, anna)
    order = await order_of(stage, anna)
    anna.chat.remove(card)
    clock.pass_by(minutes=5)
    pinned: list[Card | None] = []
    while not pinned or pinned[-1] is None or pinned[-1].look_at is not None:
        await stage.say(anna, "/start", hears="sell access")
        async with store.unit() as unit:
            pinned.append(await unit.chats.card(order.id))
    await stage.say(anna, "/status", hears=order.id)


async def test_an_order_with_a_person_is_told_aloud(stage: Stage):
    anna = stage.person()
    card = await bought(stage, anna)
    order = await order_of(stage, anna)
    await stage.shop.decide(order.id, Decision.HOLD, actor="cli:root", reason="odd")
    await stage.hears(anna, f"Order {order.id}: on hold")
    await until(lambda: "on hold" in card.text)
    assert (await order_of(stage, anna)).state is OrderState.HOLD


async def test_old_buttons_are_swept_away(stage: Stage, store, clock):
    anna = stage.person()
    await bought(stage, anna)
    assert len(store.memory.buttons) > 2
    clock.pass_by(days=3)
    await until(lambda: len(store.memory.buttons) <= 2)


@pytest.mark.filterwarnings("ignore:Deprecated since version v22.2")  # the library's own error class
async def test_a_card_that_shows_it_already_is_no_error_and_goes_on_changing(stage: Stage, clock):
    anna = stage.person()
    card = await bought(stage, anna)
    same = "Bad Request: message is not modified: specified new message content and reply markup are exactly the same"
    stage.api.refuse("editMessageText", 400, same)
    clock.pass_by(minutes=5)
    await until(lambda: "editMessageText" in stage.api.calls)
    clock.pass_by(minutes=5)
    await until(lambda: "50 minutes left" in card.text)
    assert stage.count("x0tta6bl4_telegram_messages_total", result="refused") == 0
    assert stage.count("x0tta6bl4_telegram_messages_total", result="failed") == 0
