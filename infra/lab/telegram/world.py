"""Telegram as the stand-in knows it: people, their chats with one bot, and the updates that wait for it.

No HTTP here. What a method of the Bot API refuses is raised as `ApiRefusal`, in the words of the real one.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

Json = dict[str, Any]

LONGEST_TEXT = 4096  # Bot API, sendMessage
LONGEST_CAPTION = 1024  # Bot API, sendPhoto
LONGEST_CALLBACK = 64  # Bot API, InlineKeyboardButton.callback_data, in bytes
LONGEST_COPIED = 256  # Bot API, CopyTextButton
TAGS = frozenset({"b", "i", "u", "s", "code", "pre", "a", "blockquote", "tg-spoiler"})


class ApiRefusal(Exception):
    """Raised when the Bot API answers `ok: false`."""

    def __init__(self, status: int, description: str, *, retry_after: int | None = None) -> None:
        super().__init__(description)
        self.status = status
        self.description = description
        self.retry_after = retry_after


class _Shown(HTMLParser):
    """Reads Telegram's HTML: the text a person sees; refuses what Telegram cannot parse."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag not in TAGS:
            raise ApiRefusal(400, f'Bad Request: can\'t parse entities: Unsupported start tag "{tag}"')
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            raise ApiRefusal(400, f'Bad Request: can\'t parse entities: Unmatched end tag "{tag}"')

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def shown(text: str, parse_mode: str | None) -> str:
    """Return what a person sees of a message's text.

    Raises:
        ApiRefusal: the HTML is not Telegram's.
    """
    if parse_mode is None:
        return text
    if parse_mode.upper() != "HTML":
        raise ApiRefusal(400, "Bad Request: unsupported parse_mode")
    reader = _Shown()
    reader.feed(text)
    reader.close()
    if reader.open:
        raise ApiRefusal(400, f"Bad Request: can't parse entities: Can't find end tag for \"{reader.open[-1]}\"")
    return "".join(reader.text)


@dataclass(slots=True)
class Said:
    """One message in a chat.

    Attributes:
        number: Its message_id.
        by_bot: Who wrote it.
        text: As a person sees it; of a photo its caption.
        buttons: Rows of inline buttons, as the API got them.
        photo: The picture's bytes, if it is one.
        edits: How often it was changed.
        source: The text as the API got it.
    """

    number: int
    by_bot: bool
    text: str
    buttons: list[list[Json]] = field(default_factory=list)
    photo: bytes | None = None
    edits: int = 0
    source: str = ""

    def button(self, label: str) -> Json:
        """Return the button whose label holds these words; KeyError when there is none."""
        for row in self.buttons:
            for one in row:
                if label in one["text"]:
                    return one
        raise KeyError(label)


@dataclass(slots=True)
class Person:
    """Somebody with a Telegram account, and their private chat with the bot.

    Attributes:
        has_blocked: Set it, and the bot may not write.
        answers: What the bot answered to their presses, newest last.
    """

    number: int
    name: str
    language: str
    chat: list[Said] = field(default_factory=list)
    has_blocked: bool = False
    answers: list[str] = field(default_factory=list)

    @property
    def account(self) -> Json:
        """Return the User object."""
        return {"id": self.number, "is_bot": False, "first_name": self.name, "language_code": self.language}

    @property
    def place(self) -> Json:
        """Return the Chat object."""
        return {"id": self.number, "type": "private", "first_name": self.name}

    @property
    def last(self) -> Said:
        """Return what the bot said last."""
        return next(one for one in reversed(self.chat) if one.by_bot)

    def find(self, message: int) -> Said | None:
        """Return a message of the bot's by its number."""
        return next((one for one in self.chat if one.number == message and one.by_bot), None)


@dataclass(slots=True)
class TelegramWorld:
    """All people, one bot, its updates. Ids grow from one.

    Attributes:
        now_s: The date every message carries; the stand-in has no clock of its own.
    """

    people: dict[int, Person] = field(default_factory=dict)
    updates: list[Json] = field(default_factory=list)
    commands: dict[str, list[Json]] = field(default_factory=dict)
    now_s: int = 1_772_366_400
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    presses: dict[str, Person] = field(default_factory=dict)
    _messages: int = 0
    _updates: int = 0
    _presses: int = 0

    def person(self, number: int, name: str = "Anna", language: str = "en") -> Person:
        """Return somebody, making them the first time."""
        return self.people.setdefault(number, Person(number, name, language))

    def say(self, person: Person, text: str, *, group: int | None = None) -> int:
        """Let somebody write to the bot, or in a group that it is in; return the update's number."""
        said = Said(self._next_message(), False, text)
        person.chat.append(said)
        message = self.as_message(person, said)
        if group is not None:
            message["chat"] = {"id": group, "type": "group", "title": "neighbours"}
        if text.startswith("/"):
            command = text.split(maxsplit=1)[0]
            message["entities"] = [{"type": "bot_command", "offset": 0, "length": len(command)}]
        return self._put({"message": message})

    def press(self, person: Person, said: Said, label: str) -> int:
        """Let somebody press an inline button by words of its label; return the update's number."""
        return self.press_raw(person, said, said.button(label)["callback_data"])

    def press_raw(self, person: Person, said: Said, payload: str) -> int:
        """Let somebody send any callback data, as a forged client would."""
        self._presses += 1
        name = str(self._presses)
        self.presses[name] = person
        query = {
            "id": name,
            "from": person.account,
            "chat_instance": "1",
            "data": payload,
            "message": self.as_message(person, said),
        }
        return self._put({"callback_query": query})

    def replay(self, update: Json) -> None:
        """Deliver an update once more, as Telegram does when it was not confirmed."""
        self.updates.append(update)
        self.arrived.set()

    def send(self, chat: int, text: str, *, mode: str | None, buttons: list[list[Json]], photo: bytes | None) -> Json:
        """Let the bot write.

        Raises:
            ApiRefusal: no such chat, blocked, too long, bad HTML or buttons.
        """
        person = self._reachable(chat)
        visible = self._fit(text, mode, LONGEST_TEXT if photo is None else LONGEST_CAPTION, is_photo=photo is not None)
        said = Said(self._next_message(), True, visible, _checked(buttons), photo, source=text)
        person.chat.append(said)
        return self.as_message(person, said)

    def edit(self, chat: int, message: int, text: str, *, mode: str | None, buttons: list[list[Json]]) -> Json:
        """Let the bot change a message of its own.

        Raises:
            ApiRefusal: as `send`; or no such message, or nothing would change.
        """
        person = self._reachable(chat)
        said = person.find(message)
        if said is None:
            raise ApiRefusal(400, "Bad Request: message to edit not found")
        if said.photo is not None:
            raise ApiRefusal(400, "Bad Request: there is no text in the message to edit")
        visible = self._fit(text, mode, LONGEST_TEXT, is_photo=False)
        if visible == said.text and buttons == said.buttons:
            raise ApiRefusal(
                400,
                "Bad Request: message is not modified: specified new message content and reply markup are exactly "
                "the same as a current content and reply markup of the message",
            )
        said.text, said.buttons, said.source = visible, _checked(buttons), text
        said.edits += 1
        return self.as_message(person, said)

    def answer(self, query: str, text: str) -> None:
        """Let the bot answer a press, once.

        Raises:
            ApiRefusal: unknown, or answered before.
        """
        person = self.presses.pop(query, None)
        if person is None:
            raise ApiRefusal(400, "Bad Request: query is too old and response timeout expired or query ID is invalid")
        person.answers.append(text)

    def as_message(self, person: Person, said: Said) -> Json:
        """Return the Message object."""
        bot: Json = {"id": 1, "is_bot": True, "first_name": "x0tta6bl4", "username": "x0_lab_bot"}
        message: Json = {
            "message_id": said.number,
            "date": self.now_s,
            "chat": person.place,
            "from": bot if said.by_bot else person.account,
        }
        if said.photo is None:
            message["text"] = said.text
        else:
            message["caption"] = said.text
            message["photo"] = [{"file_id": "p", "file_unique_id": "p", "width": 1, "height": 1}]
        if said.buttons:
            message["reply_markup"] = {"inline_keyboard": said.buttons}
        return message

    def _put(self, update: Json) -> int:
        self._updates += 1
        self.updates.append({"update_id": self._updates, **update})
        self.arrived.set()
        return self._updates

    def _next_message(self) -> int:
        self._messages += 1
        return self._messages

    def _reachable(self, chat: int) -> Person:
        person = self.people.get(chat)
        # A bot may not write first.
        if person is None or not any(not one.by_bot for one in person.chat):
            raise ApiRefusal(400, "Bad Request: chat not found")
        if person.has_blocked:
            raise ApiRefusal(403, "Forbidden: bot was blocked by the user")
        return person

    @staticmethod
    def _fit(text: str, mode: str | None, longest: int, *, is_photo: bool) -> str:
        visible = shown(text, mode)
        if len(visible) > longest:
            what = "message caption is too long" if is_photo else "message is too long"
            raise ApiRefusal(400, f"Bad Request: {what}")
        if not visible.strip() and not is_photo:
            raise ApiRefusal(400, "Bad Request: message text is empty")
        return visible


def _checked(buttons: list[list[Json]]) -> list[list[Json]]:
    for one in (button for row in buttons for button in row):
        if len(one.get("callback_data", "").encode()) > LONGEST_CALLBACK:
            raise ApiRefusal(400, "Bad Request: BUTTON_DATA_INVALID")
        if "copy_text" in one and not 1 <= len(one["copy_text"]["text"]) <= LONGEST_COPIED:
            raise ApiRefusal(400, "Bad Request: BUTTON_COPY_TEXT_INVALID")
        if len([name for name in one if name in {"callback_data", "copy_text", "url"}]) != 1:
            raise ApiRefusal(400, "Bad Request: can't parse inline keyboard button: Text buttons are unallowed")
    return buttons
