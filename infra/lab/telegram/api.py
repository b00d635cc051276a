"""The Bot API as the stand-in speaks it, over HTTP; and a door through which people in the lab write to the bot."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http import HTTPStatus
from urllib.parse import parse_qsl

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from infra.lab.telegram.world import ApiRefusal, Json, Person, Said, TelegramWorld

LAB_TOKEN = "100000001:lab-stand-in-token-that-opens-nothing-0"  # noqa: S105 - opens the stand-in and nothing else
LONGEST_POLL_SECONDS = 50.0  # Telegram's own bound
PNG = b"\x89PNG\r\n\x1a\n"
SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105 - a header's name

Parameters = dict[str, str | bytes]
Method = Callable[[Parameters], Awaitable[object]]


@dataclass(slots=True)
class Planned:
    """An answer for the next calls of a method instead of the true one; `times` None: always."""

    method: str
    refusal: ApiRefusal
    times: int | None


@dataclass(slots=True)
class BotApi:
    """The stand-in. Change the world and plan refusals while it runs.

    Attributes:
        token: The only one it takes.
        url: Where it listens, once it does.
        calls: Methods called, in order.
        webhook: Where updates go instead of waiting, with the secret they carry.
    """

    world: TelegramWorld = field(default_factory=TelegramWorld)
    token: str = LAB_TOKEN
    url: str = ""
    calls: list[str] = field(default_factory=list)
    planned: list[Planned] = field(default_factory=list)
    webhook: tuple[str, str] | None = None
    _polls: int = 0

    def app(self) -> Starlette:
        """Return the ASGI application: the Bot API, and /people for whoever plays a customer."""
        return Starlette(
            routes=[
                Route("/bot{token}/{method}", self._call, methods=["GET", "POST"]),
                Route("/people/{person:int}", self._read, methods=["GET"]),
                Route("/people/{person:int}/say", self._say, methods=["POST"]),
                Route("/people/{person:int}/press", self._press, methods=["POST"]),
            ]
        )

    def refuse(
        self, method: str, status: int, description: str, *, retry_after: int | None = None, times: int | None = 1
    ) -> None:
        """Let the next calls of a method be refused."""
        self.planned.append(Planned(method, ApiRefusal(status, description, retry_after=retry_after), times))

    async def push(self) -> int:
        """Send waiting updates to the webhook; return how many it took with a 200."""
        if self.webhook is None:
            return 0
        url, secret = self.webhook
        taken = 0
        async with httpx.AsyncClient() as client:
            while self.world.updates:
                answer = await client.post(url, json=self.world.updates[0], headers={SECRET_HEADER: secret})
                if answer.status_code != HTTPStatus.OK:
                    break
                self.world.updates.pop(0)
                taken += 1
        return taken

    async def _call(self, request: Request) -> JSONResponse:
        method = request.path_params["method"]
        self.calls.append(method)
        try:
            found = self._find(request.path_params["token"], method)
            result = await found(await _parameters(request))
        except ApiRefusal as refusal:
            body: Json = {"ok": False, "error_code": refusal.status, "description": refusal.description}
            if refusal.retry_after is not None:
                body["parameters"] = {"retry_after": refusal.retry_after}
            return JSONResponse(body, refusal.status)
        return JSONResponse({"ok": True, "result": result})

    def _find(self, token: str, method: str) -> Method:
        """Return what answers a call; raises ApiRefusal for a wrong token, a planned refusal, an unknown method."""
        if token != self.token:
            raise ApiRefusal(401, "Unauthorized")
        self._strike(method)
        found = self._methods.get(method.lower())
        if found is None:
            raise ApiRefusal(404, "Not Found")
        return found

    def _strike(self, method: str) -> None:
        for plan in self.planned:
            if plan.method == method and plan.times != 0:
                if plan.times is not None:
                    plan.times -= 1
                raise plan.refusal

    @property
    def _methods(self) -> dict[str, Method]:
        return {
            "getme": self._get_me,
            "getupdates": self._get_updates,
            "setwebhook": self._set_webhook,
            "deletewebhook": self._delete_webhook,
            "setmycommands": self._set_my_commands,
            "sendmessage": self._send_message,
            "sendphoto": self._send_photo,
            "editmessagetext": self._edit_message_text,
            "answercallbackquery": self._answer_callback_query,
        }

    async def _get_me(self, _: Parameters) -> Json:
        return {
            "id": int(self.token.split(":", maxsplit=1)[0]),
            "is_bot": True,
            "first_name": "x0tta6bl4",
            "username": "x0_lab_bot",
            "can_join_groups": False,
            "can_read_all_group_messages": False,
            "supports_inline_queries": False,
        }

    async def _get_updates(self, asked: Parameters) -> list[Json]:
        if self.webhook is not None:
            raise ApiRefusal(
                409, "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete"
            )
        self._polls += 1
        mine = self._polls
        # Whoever polled before is told that another does now, at once.
        self.world.arrived.set()
        offset = int(asked.get("offset", 0))
        limit = int(asked.get("limit", 100))
        patience = min(float(asked.get("timeout", 0)), LONGEST_POLL_SECONDS)
        self.world.updates[:] = [one for one in self.world.updates if one["update_id"] >= offset]
        try:
            async with asyncio.timeout(patience):
                while not self.world.updates:
                    self.world.arrived.clear()
                    await self.world.arrived.wait()
                    if mine != self._polls:
                        raise ApiRefusal(
                            409,
                            "Conflict: terminated by other getUpdates request; make sure that only one bot instance "
                            "is running",
                        )
        except TimeoutError:
            return []
        return self.world.updates[:limit]

    async def _set_webhook(self, asked: Parameters) -> bool:
        self.webhook = (str(asked["url"]), str(asked.get("secret_token", "")))
        return True

    async def _delete_webhook(self, _: Parameters) -> bool:
        self.webhook = None
        return True

    async def _set_my_commands(self, asked: Parameters) -> bool:
        self.world.commands[str(asked.get("language_code", ""))] = json.loads(asked["commands"])
        return True

    async def _send_message(self, asked: Parameters) -> Json:
        return self.world.send(
            int(asked["chat_id"]), str(asked["text"]), mode=_mode(asked), buttons=_buttons(asked), photo=None
        )

    async def _send_photo(self, asked: Parameters) -> Json:
        picture = next((one for one in asked.values() if isinstance(one, bytes)), b"")
        if not picture.startswith(PNG):
            raise ApiRefusal(400, "Bad Request: IMAGE_PROCESS_FAILED")
        return self.world.send(
            int(asked["chat_id"]),
            str(asked.get("caption", "")),
            mode=_mode(asked),
            buttons=_buttons(asked),
            photo=picture,
        )

    async def _edit_message_text(self, asked: Parameters) -> Json:
        return self.world.edit(
            int(asked["chat_id"]),
            int(asked["message_id"]),
            str(asked["text"]),
            mode=_mode(asked),
            buttons=_buttons(asked),
        )

    async def _answer_callback_query(self, asked: Parameters) -> bool:
        self.world.answer(str(asked["callback_query_id"]), str(asked.get("text", "")))
        return True

    async def _read(self, request: Request) -> JSONResponse:
        """Show somebody's chat: what was said, with the labels of the buttons under it."""
        person = self.world.people.get(request.path_params["person"])
        return JSONResponse([] if person is None else [_told(one) for one in person.chat])

    async def _say(self, request: Request) -> JSONResponse:
        """Let somebody write: `{"text": "/start"}`, and `"language": "ru"` the first time."""
        wish = await request.json()
        number = request.path_params["person"]
        person = self.world.person(number, f"person {number}", wish.get("language", "en"))
        return JSONResponse({"update": self.world.say(person, wish["text"])})

    async def _press(self, request: Request) -> JSONResponse:
        """Let somebody press a button under the newest message that has it: `{"button": "words of its label"}`."""
        person, label = self._who(request), (await request.json())["button"]
        for said in reversed(person.chat):
            if any(label in one["text"] and "callback_data" in one for row in said.buttons for one in row):
                return JSONResponse({"update": self.world.press(person, said, label)})
        return JSONResponse({"error": f"no message has a button {label!r}"}, HTTPStatus.NOT_FOUND)

    def _who(self, request: Request) -> Person:
        return self.world.person(request.path_params["person"])


def _told(said: Said) -> Json:
    labels = [one["text"] for row in said.buttons for one in row]
    return {"number": said.number, "by_bot": said.by_bot, "text": said.text, "buttons": labels}


async def _parameters(request: Request) -> Parameters:
    """Read parameters from the query and from a body of any of the kinds that the Bot API takes."""
    asked: Parameters = dict(request.query_params)
    kind, body = request.headers.get("content-type", ""), await request.body()
    if kind.startswith("multipart/form-data"):
        whole = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
        for part in whole.iter_parts():
            content = part.get_payload(decode=True)
            if isinstance(content, bytes):
                name = str(part.get_param("name", header="content-disposition"))
                asked[name] = content if part.get_filename() else content.decode()
    elif kind.startswith("application/json") and body:
        told = json.loads(body)
        asked |= {name: one if isinstance(one, str) else json.dumps(one) for name, one in told.items()}
    else:
        asked |= dict(parse_qsl(body.decode(), keep_blank_values=True))
    return asked


def _mode(asked: Parameters) -> str | None:
    mode = asked.get("parse_mode")
    return None if mode is None else str(mode)


def _buttons(asked: Parameters) -> list[list[Json]]:
    markup = asked.get("reply_markup")
    rows: list[list[Json]] = [] if markup is None else json.loads(markup).get("inline_keyboard", [])
    return rows
