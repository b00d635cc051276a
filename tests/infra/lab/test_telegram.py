"""The made-up Telegram, asked by a well-kept client of the real one: what it answers is what that client expects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from telegram import Bot, BotCommand, CopyTextButton, InlineKeyboardButton, InlineKeyboardMarkup
from telegram.error import BadRequest, Conflict, Forbidden, InvalidToken, RetryAfter
from telegram.request import HTTPXRequest

from infra.lab.chains.server import serving
from infra.lab.telegram.api import LAB_TOKEN, BotApi
from infra.lab.telegram.world import Person

ANNA = 4711
PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 32


@pytest.fixture
async def api() -> AsyncIterator[BotApi]:
    async with serving(BotApi()) as served:
        yield served


@pytest.fixture
async def bot(api: BotApi) -> AsyncIterator[Bot]:
    async with Bot(LAB_TOKEN, base_url=f"{api.url}/bot") as opened:
        yield opened


@pytest.fixture
def anna(api: BotApi) -> Person:
    person = api.world.person(ANNA, "Anna", "ru")
    api.world.say(person, "/start now")
    return person


async def test_a_bot_learns_who_it_is(bot: Bot):
    assert (bot.id, bot.username) == (100000001, "x0_lab_bot")


async def test_what_somebody_writes_arrives_with_who_wrote_it(bot: Bot, anna: Person):
    (update,) = await bot.get_updates()
    assert update.effective_user is not None
    assert (update.effective_user.id, update.effective_user.language_code) == (ANNA, "ru")
    assert update.message is not None
    assert update.message.text == "/start now"
    assert [one.type for one in update.message.entities] == ["bot_command"]


async def test_updates_come_again_until_they_are_confirmed(bot: Bot, api: BotApi, anna: Person):
    (first,) = await bot.get_updates()
    api.world.say(anna, "more")
    assert [one.update_id for one in await bot.get_updates()] == [first.update_id, first.update_id + 1]
    (rest,) = await bot.get_updates(offset=first.update_id + 1)
    assert rest.message is not None
    assert rest.message.text == "more"
    assert await bot.get_updates(offset=rest.update_id + 1) == ()


async def test_a_long_poll_is_answered_as_soon_as_somebody_writes(bot: Bot, api: BotApi):
    waiting = asyncio.create_task(bot.get_updates(timeout=30))
    while "getUpdates" not in api.calls:  # noqa: ASYNC110 - the stand-in rings no bell
        await asyncio.sleep(0.005)
    api.world.say(api.world.person(ANNA), "hello")
    (update,) = await asyncio.wait_for(waiting, 10)
    assert update.message is not None
    assert update.message.text == "hello"


async def test_of_two_that_poll_the_first_is_told_so(bot: Bot, api: BotApi):
    async with Bot(LAB_TOKEN, base_url=f"{api.url}/bot") as other:
        first = asyncio.create_task(bot.get_updates(timeout=30))
        while "getUpdates" not in api.calls:  # noqa: ASYNC110 - the stand-in rings no bell
            await asyncio.sleep(0.005)
        await other.get_updates(timeout=0)
        with pytest.raises(Conflict, match="terminated by other"):
            await asyncio.wait_for(first, 10)


async def test_a_message_is_sent_and_changed_and_says_when_nothing_changes(bot: Bot, anna: Person):
    sent = await bot.send_message(ANNA, "<b>one</b>", parse_mode="HTML")
    assert anna.last.text == "one"
    await bot.edit_message_text("two", ANNA, sent.message_id)
    assert (anna.last.text, anna.last.edits) == ("two", 1)
    with pytest.raises(BadRequest, match="not modified"):
        await bot.edit_message_text("two", ANNA, sent.message_id)
    with pytest.raises(BadRequest, match=r"(?i)message to edit not found"):
        await bot.edit_message_text("two", ANNA, 999)


@pytest.mark.parametrize("text", ["<b>open", "<i>a</b>", "<script>x</script>"])
async def test_html_that_telegram_cannot_parse_is_refused(bot: Bot, anna: Person, text: str):
    with pytest.raises(BadRequest, match=r"(?i)can't parse entities"):
        await bot.send_message(ANNA, text, parse_mode="HTML")


async def test_what_is_too_long_or_empty_is_refused(bot: Bot, anna: Person):
    with pytest.raises(BadRequest, match="too long"):
        await bot.send_message(ANNA, "x" * 4097)
    with pytest.raises(BadRequest, match="empty"):
        await bot.send_message(ANNA, " ")


async def test_a_bot_writes_to_nobody_who_never_wrote_to_it_or_blocked_it(bot: Bot, anna: Person):
    with pytest.raises(BadRequest, match=r"[Cc]hat not found"):
        await bot.send_message(4712, "hello")
    anna.has_blocked = True
    with pytest.raises(Forbidden, match="blocked"):
        await bot.send_message(ANNA, "hello")


async def test_a_press_arrives_and_is_answered_once(bot: Bot, api: BotApi, anna: Person):
    buttons = InlineKeyboardMarkup(
        [[InlineKeyboardButton("Go", callback_data="abc"), InlineKeyboardButton("C", copy_text=CopyTextButton("x"))]]
    )
    await bot.send_message(ANNA, "choose", reply_markup=buttons)
    api.world.press(anna, anna.last, "Go")
    query = (await bot.get_updates())[-1].callback_query
    assert query is not None
    assert (query.data, query.from_user.id) == ("abc", ANNA)
    await bot.answer_callback_query(query.id, "done")
    assert anna.answers == ["done"]
    with pytest.raises(BadRequest, match=r"(?i)query is too old"):
        await bot.answer_callback_query(query.id)


async def test_buttons_that_telegram_does_not_take_are_refused(bot: Bot, anna: Person):
    long = InlineKeyboardMarkup([[InlineKeyboardButton("Go", callback_data="x" * 65)]])
    with pytest.raises(BadRequest, match=r"(?i)button_data_invalid"):
        await bot.send_message(ANNA, "choose", reply_markup=long)


async def test_a_photo_is_a_picture(bot: Bot, anna: Person):
    await bot.send_photo(ANNA, PNG, caption="<i>look</i>", parse_mode="HTML")
    assert (anna.last.text, anna.last.photo) == ("look", PNG)
    with pytest.raises(BadRequest, match=r"(?i)image_process_failed"):
        await bot.send_photo(ANNA, b"no picture", filename="a.png")


async def test_commands_are_kept_for_each_language(bot: Bot, api: BotApi):
    await bot.set_my_commands([BotCommand("buy", "купить")], language_code="ru")
    assert api.world.commands["ru"] == [{"command": "buy", "description": "купить"}]


async def test_a_wrong_token_is_refused(api: BotApi):
    # A request of our own: the client does not close its own when the first call fails.
    request = HTTPXRequest()
    with pytest.raises(InvalidToken):
        await Bot("1:wrong", base_url=f"{api.url}/bot", request=request).initialize()
    await request.shutdown()


@pytest.mark.filterwarnings("ignore:Deprecated since version v22.2")  # the client's own, about its next version
@pytest.mark.filterwarnings("ignore:unclosed")  # as above
async def test_a_planned_refusal_strikes_and_is_over(bot: Bot, api: BotApi, anna: Person):
    api.refuse("sendMessage", 429, "Too Many Requests: retry after 7", retry_after=7)
    with pytest.raises(RetryAfter):
        await bot.send_message(ANNA, "hello")
    await bot.send_message(ANNA, "hello")
    assert anna.last.text == "hello"


async def test_with_a_webhook_nothing_is_polled(bot: Bot, api: BotApi):
    await bot.set_webhook("https://shop.example/hook", secret_token="s")  # noqa: S106 - opens nothing
    with pytest.raises(Conflict, match="webhook is active"):
        await bot.get_updates()
    await bot.delete_webhook()
    assert await bot.get_updates() == ()


async def test_a_person_in_the_lab_writes_reads_and_presses_over_http(api: BotApi, bot: Bot):
    async with httpx.AsyncClient(base_url=api.url) as person:
        assert (await person.post("/people/7/say", json={"text": "/start", "language": "ru"})).status_code == 200
        buttons = InlineKeyboardMarkup([[InlineKeyboardButton("Купить", callback_data="abc")]])
        await bot.send_message(7, "choose", reply_markup=buttons)
        chat = (await person.get("/people/7")).json()
        assert [(one["by_bot"], one["text"], one["buttons"]) for one in chat] == [
            (False, "/start", []),
            (True, "choose", ["Купить"]),
        ]
        assert (await person.post("/people/7/press", json={"button": "Купить"})).status_code == 200
        assert (await person.post("/people/7/press", json={"button": "Продать"})).status_code == 404
    assert (await bot.get_updates())[-1].callback_query is not None
