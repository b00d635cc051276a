"""A made-up Telegram beside an installation, and the people who write to its bot."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from infra.lab.chains.server import serving
from infra.lab.telegram.api import BotApi
from tests.e2e.waiting import NotYet, until

START_SECONDS = 10.0
# The bot polls, so it hears at once; what it says waits for a database that three dozen processes share.
ANSWER_SECONDS = 60.0


class Messenger:
    """The stand-in of the Bot API in a thread of its own, since one installation outlives many event loops."""

    def __init__(self) -> None:
        self.api = BotApi()
        self._stop = threading.Event()
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="telegram", daemon=True)

    @property
    def environment(self) -> dict[str, str]:
        """What makes an installation's bot speak here."""
        return {"TELEGRAM_BOT_TOKEN": self.api.token, "X0_TELEGRAM_URL": self.api.url}

    async def _serve(self) -> None:
        async with serving(self.api):
            self._is_up.set()
            await asyncio.to_thread(self._stop.wait)

    @contextmanager
    def open(self) -> Iterator[Messenger]:
        """Serve until the block ends."""
        self._thread.start()
        assert self._is_up.wait(START_SECONDS), "the stand-in of the Bot API did not start"
        try:
            yield self
        finally:
            self._stop.set()
            self._thread.join(START_SECONDS)

    def person(self, number: int, *, language: str) -> Person:
        """Return somebody who never wrote before."""
        return Person(self.api.url, number, language)


class Person:
    """Somebody with a telephone: speaks and hears through the stand-in's door."""

    def __init__(self, url: str, number: int, language: str) -> None:
        self.number = number
        self._door = f"{url}/people/{number}"
        self._language = language

    async def says(self, text: str) -> None:
        """Write to the bot."""
        await self._post("say", {"text": text, "language": self._language})

    async def presses(self, label: str) -> None:
        """Press the newest button with these words."""
        await self._post("press", {"button": label})

    async def hears(self, words: str, *, within: float = ANSWER_SECONDS) -> str:
        """Wait until the bot's chat holds these words, and return the newest message that does."""

        async def heard() -> str | NotYet:
            async with httpx.AsyncClient(trust_env=False) as client:
                chat = (await client.get(self._door)).raise_for_status().json()
            said = [one["text"] for one in chat if one["by_bot"]]
            found = [one for one in said if words in one]
            return found[-1] if found else NotYet("\n---\n".join(said))

        return await until(f"the bot to say {words!r}", heard, within=within)

    async def _post(self, what: str, wish: dict[str, str]) -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(f"{self._door}/{what}", json=wish)
        assert answer.is_success, answer.text
