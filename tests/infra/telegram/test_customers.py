"""What a customer asks for, over the made-up Telegram."""

from __future__ import annotations

import pytest

from infra.lab.telegram.api import BotApi
from infra.lab.telegram.world import Person, Said, TelegramWorld
from infra.shop.shop import Shop
from infra.telegram.words import Command
from models.ledger import Language
from models.payment import OrderState
from tests.infra.telegram.stage import ANNA, BORIS, Stage, on_stage, until

HASH = "ab" * 32


async def bought(stage: Stage, person: Person, label: str = "week") -> Said:
    """Buy, and return the card."""
    offer = await stage.say(person, "/buy", hears="how will you pay")
    await stage.press(person, offer, label)
    return await stage.hears(person, "Send exactly", after=len(person.chat) - 2)


async def order_of(stage: Stage, person: Person):
    return (await stage.sales(person))[0].order


async def test_start_says_what_one_can_type(stage: Stage):
    said = await stage.say(stage.person(), "/start", hears="sell access")
    assert all(f"/{one.value}" in said.text for one in Command)


async def test_the_bots_menu_stands_in_both_languages(stage: Stage):
    menus = stage.api.world.commands
    assert [one["command"] for one in menus[""]] == [one["command"] for one in menus["ru"]] == [*Command]
    assert menus[""] != menus["ru"]


async def test_plans_show_days_devices_and_prices(stage: Stage):
    said = await stage.say(stage.person(), "/plans", hears="month")
    assert "month: 30 days, 2 devices at once: 9.99 USDT (TRC-20), 3.5 TON" in said.text
    assert "week: 7 days, 1 device at once: 2.99 USDT (TRC-20)" in said.text


async def test_a_bot_that_may_not_sell_offers_nothing_and_takes_no_order(store, clock):
    async with on_stage(store, clock, telegram_sells=False) as stage:
        await stage.say(stage.person(), "/buy", hears="Nothing is sold")
        assert await stage.sales(stage.person()) == []


async def test_buying_shows_a_picture_and_a_card(stage: Stage):
    anna = stage.person()
    card = await bought(stage, anna)
    order = await order_of(stage, anna)
    assert order.id in card.text
    assert [one.photo is not None for one in anna.chat if one.by_bot] == [False, True, False]
    assert card.button("Copy amount")["copy_text"]["text"] == str(order.amount).split()[0]
    assert card.button("Copy address")["copy_text"]["text"] == str(order.deposit)


async def test_what_travels_in_a_button_says_nothing(stage: Stage):
    anna = stage.person()
    card = await bought(stage, anna)
    order = await order_of(stage, anna)
    sent = [one["callback_data"] for row in card.buttons for one in row if "callback_data" in one]
    assert len(set(sent)) == 2
    assert not any(order.id in one or "cancel" in one for one in sent)


async def test_a_second_press_buys_nothing_more(stage: Stage):
    anna = stage.person()
    offer = await stage.say(anna, "/buy", hears="how will you pay")
    await stage.press(anna, offer, "week")
    await stage.press(anna, offer, "week")
    assert anna.answers == ["", "This button was used or has expired. /status shows a new one."]
    assert len(await stage.sales(anna)) == 1


async def test_another_persons_press_does_nothing(stage: Stage):
    anna, boris = stage.person(), stage.person(BORIS)
    await stage.say(boris, "/start", hears="sell access")
    card = await bought(stage, anna)
    await stage.press(boris, card, "Cancel")
    assert boris.answers[-1].startswith("This button was used")
    assert (await order_of(stage, anna)).state is OrderState.NEW


async def test_a_made_up_button_does_nothing(stage: Stage):
    anna = stage.person()
    card = await bought(stage, anna)
    stage.api.world.press_raw(anna, card, "approve:everything")
    await stage.hears(anna, "Send exactly")
    while not anna.answers[1:]:
        await stage.say(anna, "/start", hears="sell access")
    assert anna.answers[-1].startswith("This button was used")


async def test_a_press_on_look_again_changes_the_card_in_its_place(stage: Stage, clock):
    anna = stage.person()
    card = await bought(stage, anna)
    before = len(anna.chat)
    clock.pass_by(seconds=1)
    await stage.press(anna, card, "Look again")
    await until(lambda: card.edits == 1)
    await stage.press(anna, card, "Look again")  # its button is a new one
    assert anna.answers[-1] == ""
    assert len(anna.chat) == before
    await until(lambda: card.edits == 2)


async def test_cancelling_changes_the_card_and_says_so(stage: Stage):
    anna = stage.person()
    card = await bought(stage, anna)
    await stage.press(anna, card, "Cancel")
    await stage.hears(anna, "is cancelled")
    await stage.hears(anna, "\ncancelled")
    assert (await order_of(stage, anna)).state is OrderState.CANCELLED
    assert card.buttons == []


async def test_an_order_with_money_in_it_cannot_be_cancelled(stage: Stage):
    anna = stage.person()
    await bought(stage, anna)
    await stage.pay((await order_of(stage, anna)).id)
    await stage.say(anna, f"/cancel {(await order_of(stage, anna)).id}", hears="cannot be cancelled")


async def test_a_payment_changes_the_card_and_brings_the_licence(stage: Stage):
    anna = stage.person()
    card = await bought(stage, anna)
    await stage.pay((await order_of(stage, anna)).id)
    await stage.hears(anna, "Here is your licence")
    await until(lambda: card.text.endswith("\npaid"))
    assert card.buttons == []


async def test_a_partial_payment_is_told_aloud(stage: Stage):
    anna = stage.person()
    await bought(stage, anna, "3.5 TON")
    order = await order_of(stage, anna)
    await stage.pay(order.id, units=1_000_000_000)
    await stage.hears(anna, f"Order {order.id}: 1 TON came in")


async def test_pay_shows_the_newest_open_order_again(stage: Stage):
    anna = stage.person()
    await bought(stage, anna)
    first = await order_of(stage, anna)
    said = await stage.say(anna, "/pay", hears="Send exactly")
    assert first.id in said.text


async def test_status_without_an_order_says_how_to_start_one(stage: Stage):
    await stage.say(stage.person(), "/status", hears="/buy starts one")


async def test_another_persons_order_is_as_unknown_as_none(stage: Stage):
    anna, boris = stage.person(), stage.person(BORIS)
    await bought(stage, anna)
    theirs = await order_of(stage, anna)
    for command in ("status", "pay", "cancel", f"paid {HASH}"):
        await stage.say(boris, f"/{command} {theirs.id}", hears="You have no such order")
    assert (await order_of(stage, anna)).state is OrderState.NEW


async def test_orders_lists_mine_only(stage: Stage):
    anna, boris = stage.person(), stage.person(BORIS)
    await bought(stage, anna)
    said = await stage.say(anna, "/orders", hears="Your orders")
    assert (await order_of(stage, anna)).id in said.text
    await stage.say(boris, "/orders", hears="no order to speak of")


async def test_a_claimed_hash_opens_a_case_and_credits_nothing(stage: Stage, store):
    anna = stage.person()
    await bought(stage, anna)
    order = await order_of(stage, anna)
    await stage.say(anna, f"/paid {HASH}", hears="I am looking for that transaction")
    async with store.unit() as unit:
        due = await unit.ledger.cases(order.deposit.chain, now=stage.clock.now())
    assert [one.tx.hex() for one in due] == [HASH]
    assert (await order_of(stage, anna)).credits == ()


async def test_what_is_no_hash_is_said_to_be_none(stage: Stage):
    anna = stage.person()
    await bought(stage, anna)
    await stage.say(anna, "/paid yesterday", hears="no transaction hash")
    await stage.say(anna, "/paid", hears="Paying is enough")


async def test_support_names_a_person(stage: Stage):
    await stage.say(stage.person(), "/support", hears="@help_x0")


async def test_a_chosen_language_stays(stage: Stage, store):
    anna = stage.person()
    await stage.say(anna, "/language", hears="Теперь говорю по-русски")
    await stage.say(anna, "/orders", hears="Подходящего заказа")
    async with store.unit() as unit:
        assert await unit.chats.language(ANNA) is Language.RUSSIAN
    await stage.say(anna, "/language en", hears="I speak English now")


@pytest.mark.parametrize("text", ["/nonsense", "hello", "/confirm ord-abcdefg2 because", "/mesh", "/heal"])
async def test_what_is_not_for_customers_is_unknown_to_them(stage: Stage, text, store):
    await stage.say(stage.person(), text, hears="I do not know that")
    async with store.unit() as unit:
        assert await unit.requests.waiting("lab") == []


async def test_a_command_with_the_bots_name_is_the_same_command(stage: Stage):
    await stage.say(stage.person(), "/start@x0_lab_bot", hears="sell access")


async def test_without_a_database_a_customer_is_asked_to_try_again(stage: Stage, store):
    store.is_down = True
    await stage.say(stage.person(), "/orders", hears="try again in a minute")
    store.is_down = False
    await stage.say(stage.person(), "/orders", hears="no order to speak of")


async def test_without_a_database_a_press_is_to_be_tried_again_and_its_button_is_not_used_up(stage: Stage, store):
    anna = stage.person()
    offer = await stage.say(anna, "/buy", hears="how will you pay")
    store.is_down = True
    await stage.press(anna, offer, "week")
    await stage.hears(anna, "try again in a minute")
    assert stage.count("x0tta6bl4_telegram_errors_total") == 0
    store.is_down = False
    await stage.press(anna, offer, "week")
    await stage.hears(anna, "Send exactly")


class GoingAway(TelegramWorld):
    """A world in which the database goes once a press is answered, before what it changed is shown."""

    def answer(self, query, text):
        super().answer(query, text)
        self.goes_away()

    def goes_away(self):
        """Nothing goes yet."""


async def test_a_database_that_goes_while_an_answer_is_on_its_way_is_no_defect(store, clock):
    """A soak found it: Postgres was killed when an order was placed, and its buyer was told of a defect."""
    world = GoingAway()
    async with on_stage(store, clock, api=BotApi(world=world)) as stage:
        anna = stage.person()
        card = await bought(stage, anna)
        world.goes_away = lambda: setattr(store, "is_down", True)
        await stage.press(anna, card, "Look again")
        await stage.hears(anna, "try again in a minute")
        assert stage.count("x0tta6bl4_telegram_errors_total") == 0


class Defect(Exception):
    """What nobody foresaw."""


class BrokenShop(Shop):
    async def sales_of(self, buyer):
        raise Defect


async def test_a_defect_is_told_to_whoever_met_it_and_counted(store, clock):
    async with on_stage(store, clock, shop_class=BrokenShop) as stage:
        await stage.say(stage.person(), "/orders", hears="went wrong on our side")
        assert stage.count("x0tta6bl4_telegram_errors_total") == 1


async def test_a_group_is_told_nothing_of_anybodys_orders(stage: Stage):
    anna = stage.person()
    await bought(stage, anna)
    spoken = stage.api.calls.count("sendMessage")
    for command in ("/status", "/orders", "/pay"):
        stage.api.world.say(anna, command, group=-100)
    # Updates are taken in order: once this is answered, those were seen.
    await stage.say(anna, "/plans", hears="month")
    await stage.say(anna, "/plans", hears="month")
    assert stage.api.calls.count("sendMessage") == spoken + 2
