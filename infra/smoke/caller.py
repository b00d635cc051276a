"""Asking the gateway as a customer or an operator would; what goes wrong becomes a sentence with its mend."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import httpx

from infra.smoke.walk import StepError

# A person gives up sooner; the slowest honest answer, a verified payment, is promised within 4.5 s.
ANSWER_SECONDS = 10.0
GATEWAY_MEND = "see `x0tta6bl4 status` and log/gateway.log in the state folder; `x0tta6bl4 up` starts one"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        status: HTTP's.
        body: The JSON object; an empty one where something else came.
        headers: As they came.
        seconds: From the first byte out to the last one in.
    """

    status: int
    body: dict[str, Any]
    headers: httpx.Headers
    seconds: float

    @property
    def detail(self) -> str:
        """The sentence of a refusal; the status alone where there is none."""
        said = self.body.get("detail")
        return f"{self.status}: {said}" if said else str(self.status)


@dataclass(frozen=True, slots=True)
class Caller:
    """Asks one gateway; a token is passed with each call and shown nowhere.

    Attributes:
        client: Its base URL is the gateway's.
    """

    client: httpx.AsyncClient = field(repr=False)

    async def ask(self, method: str, path: str, *, token: str | None = None, body: Any = None) -> Answer:
        """Return whatever the gateway answers.

        Raises:
            StepError: it does not answer.
        """
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        started = perf_counter()
        try:
            answer = await self.client.request(method, path, headers=headers, json=body)
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            raise StepError(f"{self.client.base_url} does not answer: {why}", GATEWAY_MEND) from error
        seconds = perf_counter() - started
        try:
            told = answer.json()
        except ValueError:
            told = None
        return Answer(answer.status_code, told if isinstance(told, dict) else {}, answer.headers, seconds)

    async def expect(
        self, status: int, method: str, path: str, *, mend: str, token: str | None = None, body: Any = None
    ) -> Answer:
        """Return the answer if it has this status.

        Raises:
            StepError: it has another one, or there is none.
        """
        answer = await self.ask(method, path, token=token, body=body)
        if answer.status != status:
            raise StepError(f"{method} {path} answered {answer.detail}, not {status}", mend)
        return answer
