"""`x0tta6bl4 lab chat` against the lab's Telegram, with a bot that repeats what it hears."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from click.testing import Result
from typer.testing import CliRunner

from flows.cli import app
from infra.lab.chains.server import serving
from infra.lab.telegram.api import BotApi
from infra.lab.telegram.living import FOLDER, PORT_FILE
from models.errors import ConfigurationInvalid, SourceUnavailable

BUTTONS = [[{"text": "a month", "callback_data": "m"}]]


async def repeat(api: BotApi) -> None:
    """Answer every update once."""
    while True:
        while not api.world.updates:
            api.world.arrived.clear()
            await api.world.arrived.wait()
        update = api.world.updates.pop(0)
        message = update.get("message")
        person = (message or update["callback_query"])["from"]
        text = f"{person['language_code']}: {message['text']}" if message else "pressed"
        api.world.send(person["id"], text, mode=None, buttons=BUTTONS if message else [], photo=None)


@pytest.fixture
async def telegram(tmp_path, monkeypatch) -> AsyncIterator[BotApi]:
    monkeypatch.setenv("X0_STATE", str(tmp_path))
    async with serving(BotApi()) as api:
        (tmp_path / FOLDER).mkdir()
        (tmp_path / FOLDER / PORT_FILE).write_text(api.url.rpartition(":")[2])
        bot = asyncio.create_task(repeat(api))
        yield api
        bot.cancel()
        await asyncio.gather(bot, return_exceptions=True)


async def lab_chat(*arguments: str, typed: str = "") -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, ["lab", "chat", *arguments], input=typed)


async def test_one_line_is_said_and_answered_in_the_persons_language(telegram):
    said = await lab_chat("/plans", "--language", "ru")
    assert said.exit_code == 0, said.output
    assert said.stdout.split("\n")[:2] == ["ru: /plans", "[a month]"]


async def test_words_in_brackets_press_the_button_and_only_what_is_new_is_shown(telegram):
    await lab_chat("/plans")
    pressed = await lab_chat("[month]")
    assert pressed.stdout.strip() == "pressed"


async def test_a_conversation_goes_on_until_its_input_ends(telegram):
    said = await lab_chat(typed="/plans\n[year]\n[month]\n\n")
    assert said.exit_code == 0, said.output
    told = [said.stdout.index(words) for words in ("en: /plans", "no message has a button 'year'", "pressed")]
    assert told == sorted(told)


async def test_a_button_that_nobody_showed_is_told(telegram):
    said = await lab_chat("[year]")
    assert isinstance(said.exception, ConfigurationInvalid)
    assert "no message has a button 'year'" in str(said.exception)


async def test_a_lab_that_is_down_is_told(telegram, tmp_path):
    (tmp_path / FOLDER / PORT_FILE).write_text("9")
    said = await lab_chat("/plans")
    assert isinstance(said.exception, SourceUnavailable)


async def test_where_no_lab_is_the_mend_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("X0_STATE", str(tmp_path))
    said = await lab_chat("/plans")
    assert isinstance(said.exception, ConfigurationInvalid)
    assert "up --lab" in str(said.exception)
