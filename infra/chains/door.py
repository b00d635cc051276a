"""One provider's door: every request passes here, within one deadline, one budget of calls and one size.

A key travels in a header only. No error of ours carries the request, since a traceback would print its headers.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import httpx
import structlog
from aiolimiter import AsyncLimiter
from pydantic import SecretStr
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from infra.chains.breaker import Breaker
from infra.chains.strict_json import JsonObject, read_object
from models.errors import ChainAnswerInvalid, ChainBusy, ChainUnavailable, ProviderKeyRefused
from models.payment import Provider
from models.ports import Clock

log = structlog.get_logger()

ATTEMPTS = 3
"""A third try helps after one reset and one bad gateway; more would only feed an outage."""

FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 1.0
"""Full jitter between tries; three tries and two waits fit the deadline with room for slow answers."""

REST_WHEN_LIMITED_S = 5.0
"""TronGrid's shortest suspension; used when a provider limits us and does not say for how long."""

REST_WHEN_REFUSED_S = 60.0
"""A refused key stays refused until a person acts; asking each tick would get the address banned as well."""

LONGEST_REST_S = 24 * 3600.0
_SUSPENDED = re.compile(r"suspended for ([0-9]{1,6}) ?s")
_LIMIT_WORDS = ("frequency", "rate", "suspended", "too quickly", "usage", "quota", "limit")
_DAILY = "daily usage"


class _OwnBudgetUsed(ChainBusy):
    """Raised when the deadline passed while waiting for our own budget: the provider did nothing wrong."""


@dataclass(frozen=True, slots=True)
class DoorKey:
    """How a provider wants its key. `variable` is what an operator must mend; None as secret: anonymous."""

    header: str
    prefix: str
    variable: str
    secret: SecretStr | None

    def headers(self) -> dict[str, str]:
        """Return the header that carries the key."""
        return {} if self.secret is None else {self.header: self.prefix + self.secret.get_secret_value()}


@dataclass(slots=True)
class Door:
    """Asks one provider.

    Attributes:
        provider: Whom.
        client: Shared; must not follow redirects.
        url: Base address without a slash at its end.
        key: What opens it.
        budget: Calls per time, for this provider and key.
        breaker: When not to ask.
        clock: For quotas that end with the day.
        deadline_s: For one request, retries included.
        most_bytes: Of an answer, as it comes over the wire.
        busy: Whether the last word was that we are limited; logged when it changes.
    """

    provider: Provider
    client: httpx.AsyncClient
    url: str
    key: DoorKey
    budget: AsyncLimiter
    breaker: Breaker
    clock: Clock
    deadline_s: float
    most_bytes: int
    busy: bool = field(default=False, init=False)

    async def get(self, path: str, **query: str | int) -> JsonObject:
        """Ask and return the answer; 404 is an invalid answer here.

        Raises:
            ChainBusy: the provider, our budget or the breaker says to wait.
            ChainAnswerInvalid: the answer breaks the contract.
            ChainUnavailable: no answer of use in time.
            ProviderKeyRefused: an operator must act.
        """
        answer = await self.find(path, **query)
        if answer is None:
            raise ChainAnswerInvalid(self.provider, f"it knows no {path}")
        return answer

    async def find(self, path: str, **query: str | int) -> JsonObject | None:
        """Ask for one thing by name; None when the provider says 404. Raises as `get`."""
        return await self._ask(self.client.build_request("GET", self.url + path, params=query))

    async def post(self, path: str, body: JsonObject) -> JsonObject:
        """Ask with a JSON body. Raises as `get`."""
        answer = await self._ask(self.client.build_request("POST", self.url + path, json=body))
        if answer is None:
            raise ChainAnswerInvalid(self.provider, f"it knows no {path}")
        return answer

    async def _ask(self, request: httpx.Request) -> JsonObject | None:
        self.breaker.admit()
        try:
            answer = await self._within_deadline(request)
        except _OwnBudgetUsed:
            self.breaker.let_go()
            raise
        except ChainBusy as busy:
            self.breaker.pause(busy.wait_s)
            self._note_busy(busy)
            raise
        except ChainUnavailable:
            self.breaker.failed()
            raise
        except ProviderKeyRefused:
            self.breaker.pause(REST_WHEN_REFUSED_S)
            raise
        except BaseException:  # cancelled from outside: neither a failure nor a success
            self.breaker.let_go()
            raise
        self.breaker.succeeded()
        self._note_free()
        return answer

    async def _within_deadline(self, request: httpx.Request) -> JsonObject | None:
        asked = False
        tries = AsyncRetrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S),
            retry=retry_if_exception(_is_worth_retrying),
            before_sleep=self._spend_again,
            reraise=True,
        )
        try:
            async with asyncio.timeout(self.deadline_s) as limit:
                await self.budget.acquire()
                asked = not _is_nearly_over(limit, self.deadline_s)
                if asked:
                    return await tries(self._once, request)
        except TimeoutError:
            pass
        if not asked:
            raise _OwnBudgetUsed(self.provider, "our budget of calls is used up", wait_s=LONGEST_WAIT_S)
        raise ChainUnavailable(self.provider, f"no whole answer within {self.deadline_s:g} s")

    async def _spend_again(self, _: RetryCallState) -> None:
        await self.budget.acquire()

    async def _once(self, request: httpx.Request) -> JsonObject | None:
        trouble = ""
        try:
            response = await self.client.send(self._opened(request), stream=True, follow_redirects=False)
            try:
                body = await self._body(response)
            finally:
                await response.aclose()
        except httpx.HTTPError as error:
            trouble = type(error).__name__
        if trouble:  # raised here, outside the handler, so that no traceback holds the request and its key
            raise ChainUnavailable(self.provider, trouble)
        return self._judge(response.status_code, response.headers, body)

    def _opened(self, request: httpx.Request) -> httpx.Request:
        headers = request.headers.copy()
        headers.update({**self.key.headers(), "accept-encoding": "identity"})
        return httpx.Request(request.method, request.url, headers=headers, content=request.content)

    async def _body(self, response: httpx.Response) -> bytes:
        """Read the raw stream up to the cap; a packed body could grow a hundredfold after it."""
        if response.headers.get("content-encoding", "identity") != "identity":
            raise ChainAnswerInvalid(self.provider, "it packs its answers although asked not to")
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > self.most_bytes:
                raise ChainAnswerInvalid(self.provider, f"its answer is larger than {self.most_bytes} bytes")
        return bytes(body)

    def _judge(self, status: int, headers: httpx.Headers, body: bytes) -> JsonObject | None:
        if status == HTTPStatus.OK:
            return self._read(headers, body)
        if status == HTTPStatus.NOT_FOUND:
            return None
        if status == HTTPStatus.UNAUTHORIZED:
            raise ProviderKeyRefused(self.provider, self.key.variable)
        if status in {HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}:
            raise self._limited(headers, body[:1000].decode(errors="replace"))
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise ChainUnavailable(self.provider, f"status {status}")
        raise ChainAnswerInvalid(self.provider, f"status {status} to a request of ours")

    def _read(self, headers: httpx.Headers, body: bytes) -> JsonObject:
        trouble = ""
        try:
            answer = read_object(body)
        except ValueError as error:
            trouble = str(error)
        if trouble:
            raise ChainUnavailable(self.provider, f"its answer is no sound JSON ({trouble[:80]})")
        complaint = answer.get("Error") or answer.get("error")
        if complaint is None and answer.get("ok") is False:  # `success: false` is also how tonapi tells a transaction
            complaint = answer.get("result", "it says it failed")
        if complaint is None:
            return answer
        text = str(complaint)
        if any(word in text.lower() for word in _LIMIT_WORDS):
            raise self._limited(headers, text)
        raise ChainUnavailable(self.provider, f"status 200 with an error: {text[:120]}")

    def _limited(self, headers: httpx.Headers, text: str) -> ChainBusy:
        """Return how long it wants to be left alone: by the day's end, its words, its header, or our default."""
        now = self.clock.now()
        if _DAILY in text.lower():
            midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
            return ChainBusy(self.provider, "the day's quota is used up", wait_s=(midnight - now).total_seconds())
        wait_s = REST_WHEN_LIMITED_S
        if match := _SUSPENDED.search(text):
            wait_s = float(match[1])
        elif "retry-after" in headers:
            wait_s = _retry_after_s(headers["retry-after"], now)
        return ChainBusy(self.provider, "it limits our calls", wait_s=min(LONGEST_REST_S, max(1.0, wait_s)))

    def _note_busy(self, busy: ChainBusy) -> None:
        if not self.busy:
            log.warning("provider limits us", provider=self.provider, wait_s=round(busy.wait_s, 1))
        self.busy = True

    def _note_free(self) -> None:
        if self.busy:
            log.info("provider answers again", provider=self.provider)
        self.busy = False


def _is_nearly_over(limit: asyncio.Timeout, deadline_s: float) -> bool:
    """Tell whether waiting for our own budget left too little to judge a provider by."""
    end = limit.when()
    return end is not None and end - asyncio.get_running_loop().time() < deadline_s / 4


def _is_worth_retrying(error: BaseException) -> bool:
    """Retry what may pass within the deadline: no wish to wait, no broken contract, no refused key."""
    return isinstance(error, ChainUnavailable) and not isinstance(error, ChainBusy | ChainAnswerInvalid)


def _retry_after_s(text: str, now: datetime) -> float:
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return REST_WHEN_LIMITED_S
    return (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()
