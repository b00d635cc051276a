"""`x0tta6bl4 lab chat`: talk to the lab's bot in a terminal, as a customer would in Telegram."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.desk import out

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ANSWER_SECONDS = 15.0  # the bot polls, so it hears at once; what it says may wait for a busy database
PAUSE_SECONDS = 0.5  # an answer may be several messages; after this long without one it is over
LOOK_SECONDS = 0.1
CUSTOMER = 7

Said = dict[str, Any]


def chat(
    text: Annotated[
        str | None, typer.Argument(help="What to say, or '[words of a button]' to press it; none: a conversation.")
    ] = None,
    *,
    who: Annotated[int, typer.Option(min=1, help="Your number; 1 is the lab's admin.")] = CUSTOMER,
    language: Annotated[str, typer.Option(help="Of your Telegram when you first write; en or ru.")] = "en",
) -> None:
    """Write to the bot of a lab and read what it says, with nobody's Telegram."""
    from infra.lab.telegram.living import url_of  # noqa: PLC0415 - `--help` needs none of it
    from infra.settings import Settings  # noqa: PLC0415 - as above
    from models.errors import ConfigurationInvalid  # noqa: PLC0415 - as above

    talk = Talk(f"{url_of(Settings().state)}/people/{who}", language)
    if text is not None:
        talk.read()  # what was said before stands in an earlier answer
        talk.tell(text)
        _show(talk.answers())
        return
    out.print("A line is said, [words of a button] presses it, Enter shows what came since; Ctrl-D ends.", markup=False)
    for line in _lines():
        try:
            if line:
                talk.tell(line)
            _show(talk.answers() if line else talk.read())
        except ConfigurationInvalid as mistake:  # a slip of the hand does not end a conversation
            out.print(str(mistake), markup=False, highlight=False)


class Talk:
    """One person's chat with the bot, seen through the stand-in's door at `url`."""

    def __init__(self, url: str, language: str) -> None:
        self._url = url
        self._language = language
        self._seen: set[tuple[int, str]] = set()

    def tell(self, line: str) -> None:
        """Say a line, or press the newest button that has the words in brackets.

        Raises:
            ConfigurationInvalid: no message has such a button.
            SourceUnavailable: the lab is down.
        """
        from models.errors import ConfigurationInvalid  # noqa: PLC0415 - `--help` needs none of it

        if not (line.startswith("[") and line.endswith("]")):
            self._ask("POST", "/say", {"text": line, "language": self._language})
            return
        if "error" in (told := self._ask("POST", "/press", {"button": line[1:-1]})):
            raise ConfigurationInvalid(told["error"], "type the words of one that is shown, in brackets")

    def read(self) -> list[Said]:
        """Return what the bot said or changed since the last time. Raises SourceUnavailable: the lab is down."""
        news = [one for one in self._ask("GET", "") if one["by_bot"] and (one["number"], one["text"]) not in self._seen]
        self._seen |= {(one["number"], one["text"]) for one in news}
        return news

    def answers(self) -> Iterator[Said]:
        """Yield what the bot says, until it has said something and then nothing for a moment.

        Raises:
            SourceUnavailable: it says nothing, or the lab is down.
        """
        from models.errors import SourceUnavailable  # noqa: PLC0415 - `--help` needs none of it

        has_answered, until = False, time.monotonic() + ANSWER_SECONDS
        while time.monotonic() < until:
            if news := self.read():
                has_answered, until = True, time.monotonic() + PAUSE_SECONDS
                yield from news
            time.sleep(LOOK_SECONDS)
        if not has_answered:
            raise SourceUnavailable("the bot", f"it said nothing in {ANSWER_SECONDS:.0f} s; see log/gateway.log")

    def _ask(self, method: str, path: str, wish: dict[str, str] | None = None) -> Any:
        import httpx  # noqa: PLC0415 - `--help` needs none of it

        from models.errors import SourceUnavailable  # noqa: PLC0415 - as above

        try:
            return httpx.request(method, f"{self._url}{path}", json=wish, trust_env=False).json()
        except httpx.TransportError as error:
            raise SourceUnavailable("the lab's Telegram", f"is the lab up? {self._url}") from error


def _lines() -> Iterator[str]:
    with suppress(EOFError):
        while True:
            yield input("> ").strip()


def _show(messages: Iterable[Said]) -> None:
    for one in messages:
        out.print(one["text"], markup=False, highlight=False)
        if one["buttons"]:
            out.print("  ".join(f"[{label}]" for label in one["buttons"]), markup=False, highlight=False)
        out.print()
