"""The bot in the process that hosts it; its token, which nobody may read; updates that are brought."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys

import httpx
import pytest
from fastapi import FastAPI

from infra.lab.chains.server import serving
from infra.lab.telegram.api import SECRET_HEADER, BotApi
from infra.telegram.hosting import bot_beside, open_webhook
from infra.telegram.secrecy import redacted
from infra.telegram.settings import TelegramSettings
from models.errors import ConfigurationInvalid
from tests.infra.telegram.stage import ADMIN, Stage, on_stage, until

SECRET = "tell-nobody_7"  # noqa: S105 - opens this test and nothing else


async def test_without_a_token_there_is_no_bot():
    async with bot_beside(None, TelegramSettings(telegram_token=None)) as bot:
        assert bot is None


@pytest.mark.parametrize("text", ["7,x", "anna", "7;8", "-7"])
def test_admins_that_are_no_numbers_are_refused(monkeypatch, text):
    monkeypatch.setenv("X0_TELEGRAM_ADMINS", text)
    with pytest.raises(ConfigurationInvalid, match="X0_TELEGRAM_ADMINS"):
        TelegramSettings()


def test_admins_are_read_with_commas(monkeypatch):
    monkeypatch.setenv("X0_TELEGRAM_ADMINS", " 7, 6000000001,")
    assert TelegramSettings().telegram_admins == (7, 6_000_000_001)


def test_a_webhook_without_a_secret_is_refused():
    with pytest.raises(ConfigurationInvalid, match="X0_TELEGRAM_WEBHOOK_SECRET"):
        TelegramSettings(telegram_webhook="https://shop.example")


def test_the_token_is_no_part_of_what_settings_show():
    assert "100000001:abc" not in repr(TelegramSettings(telegram_token="100000001:abc"))  # noqa: S106 - as above


def test_whatever_looks_like_a_token_is_hidden():
    told = f"POST https://api.telegram.org/bot{BotApi().token}/getMe failed"
    assert redacted(told) == "POST https://api.telegram.org/bot***/getMe failed"


async def test_a_bot_that_was_away_comes_back(store, clock):
    api = BotApi()
    api.refuse("getMe", 502, "Bad Gateway", times=1)
    async with on_stage(store, clock, api=api) as stage:
        await stage.say(stage.person(), "/start", hears="sell access")
        assert stage.count("x0tta6bl4_telegram_up") == 1
    assert stage.count("x0tta6bl4_telegram_up") == 0


async def test_a_refused_token_ends_the_bot_and_is_written_nowhere(store, clock, capfd):
    wrong = "100000001:another-token-that-must-stay-secret-1"
    ended = asyncio.Event()
    async with on_stage(store, clock, token=wrong, is_ready=lambda stage: "getMe" in stage.api.calls) as stage:
        async with asyncio.timeout(15):
            await stage.bot.run()
        ended.set()
    assert ended.is_set()
    written = "".join(capfd.readouterr())
    assert "telegram refuses the bot's token" in written
    assert wrong not in written
    assert wrong.split(":")[1] not in written


@pytest.fixture
async def by_webhook(store, clock):
    """A bot whose updates are brought to it."""
    api = BotApi()
    turned = {"telegram_webhook": "https://shop.example", "telegram_webhook_secret": SECRET}
    async with on_stage(store, clock, api=api, is_ready=lambda _: api.webhook is not None, **turned) as stage:
        yield stage


async def test_an_update_that_is_brought_with_the_secret_is_answered(by_webhook: Stage):
    stage = by_webhook
    assert stage.api.webhook == ("https://shop.example/telegram/webhook", SECRET)
    app = FastAPI()
    open_webhook(app, stage.bot)
    anna = stage.person()
    stage.api.world.say(anna, "/start")
    body = json.dumps(stage.api.world.updates[0]).encode()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        for headers in ({}, {SECRET_HEADER: "wrong"}, {SECRET_HEADER: "падение"}):
            encoded = {name: value.encode() for name, value in headers.items()}
            answer = await client.post("/telegram/webhook", content=body, headers=encoded)
            assert answer.status_code == 403
        assert not any(one.by_bot for one in anna.chat)
        answer = await client.post("/telegram/webhook", content=body, headers={SECRET_HEADER: SECRET})
        assert answer.status_code == 200
    assert anna.last.text.startswith("Hello")
    assert "getUpdates" not in stage.api.calls


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_the_gateway_process_hosts_the_bot_and_its_log_never_tells_the_token(tmp_path):
    """Without a database too: the bot says so to whoever asks. The whole log is searched for the token."""
    async with serving(BotApi()) as api:
        written = tmp_path / "log"
        port = free_port()
        env = os.environ | {
            "DATABASE_URL": "postgresql+asyncpg://postgres@/app?host=/nonexistent/x0-telegram",
            "X0_API_PORT": str(port),
            "X0_STATE": str(tmp_path),
            "TELEGRAM_BOT_TOKEN": api.token,
            "X0_TELEGRAM_URL": api.url,
            "X0_TELEGRAM_ADMINS": str(ADMIN),
        }
        with written.open("w") as log:
            process = subprocess.Popen(  # noqa: ASYNC220 - it only starts; what it says is waited for
                [sys.executable, "-m", "infra.api"], env=env, stdout=log, stderr=log
            )
        try:
            async with asyncio.timeout(60):
                while "getUpdates" not in api.calls:
                    assert process.poll() is None, written.read_text()
                    await asyncio.sleep(0.05)
            anna = api.world.person(4711)
            api.world.say(anna, "/orders")
            await until(lambda: any("try again in a minute" in one.text for one in anna.chat))
            async with httpx.AsyncClient() as client:
                metrics = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
            assert "x0tta6bl4_telegram_up 1.0" in metrics
            assert 'x0tta6bl4_telegram_messages_total{result="delivered"} 1.0' in metrics
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(30):
                while process.poll() is None:  # noqa: ASYNC110 - a process rings no bell
                    await asyncio.sleep(0.05)
            assert process.returncode == 0
        finally:
            process.kill()
            process.wait()
    told = written.read_text()
    assert "telegram bot serves" in told
    assert api.token not in told
    assert api.token.split(":")[1] not in told
