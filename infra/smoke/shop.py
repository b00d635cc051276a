"""What a buyer asks: an order, whether it is paid, too often; and in a lab, paying and waiting for the licence."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

import httpx

from infra.smoke.caller import Answer, Caller
from infra.smoke.walk import Skipped, StepError
from models.payment import Asset

# POST /api/payment/verify is promised within it, also with every provider hanging.
VERIFY_SECONDS = 4.5
# No order was ever called this: eight digits of zero are not drawn.
NOBODYS_ORDER = "ord-00000000"
# TON settles in 3 s and USDT in a minute on an idle machine, which is TRON's finality; a busy one takes its time.
SETTLED_SECONDS = {Asset.TON: 90.0, Asset.USDT_TRON: 240.0}
LOOK_SECONDS = 1.0
# Enough for any sensible limit; a gateway that answers them all within the time has none.
BURST_CALLS = 3000
BURST_SECONDS = 90.0
BURST_ABREAST = 20
SHOP_MEND = "see log/gateway.log; docs/payments.md says what a shop needs"
SCAN_MEND = "see the run scan-chain in Prefect's UI and log/worker-control.log; in a lab also log/lab-chains.log"

Pay = Callable[[str], Awaitable[str]]
"""Pays an order by its id and returns what was sent."""


class ShopSteps:
    """Buys from one gateway.

    Args:
        caller: Reaches it.
        token: Of scope pay or operate.
        burst_token: A token that nobody else uses; it will be refused for a moment. None: there is none to spare.
        pay: The lab's wallet; None: money is real and nothing is paid.
    """

    def __init__(self, caller: Caller, token: str | None, *, burst_token: str | None, pay: Pay | None) -> None:
        self._caller = caller
        self._token = token
        self._burst_token = burst_token
        self._pay = pay
        self._orders: dict[Asset, dict[str, Any]] = {}

    async def order(self, currency: Asset) -> str | Skipped:
        """Order the cheapest plan there is in a currency."""
        plans = (await self._expect(200, "GET", "/api/plans")).body["plans"]
        offers = [
            (price["units"], plan["name"])
            for plan in plans
            for price in plan["prices"]
            if price["currency"] == currency
        ]
        if not offers:
            return Skipped(f"nothing is sold for {currency} here: set X0_PLANS and its deposit address to sell")
        plan = min(offers)[1]
        answer = await self._expect(201, "POST", "/api/orders", body={"plan": plan, "currency": currency})
        self._orders[currency] = answer.body
        return f"{answer.body['order_id']}, {answer.body['amount_text']}, placed in {_ms(answer)}"

    async def verify(self, currency: Asset) -> str:
        """See that an unpaid order is told to be unpaid, and an unknown one unknown, both in time."""
        order = self._orders[currency]
        wish = {"order_id": order["order_id"], "amount": order["amount"], "currency": currency}
        unpaid = await self._verified(202, wish)
        unknown = await self._verified(404, wish | {"order_id": NOBODYS_ORDER})
        said = f"not paid yet: 202 in {_ms(unpaid)}; unknown order: 404 in {_ms(unknown)}"
        if self._pay is not None:
            return said
        await self._expect(200, "POST", f"/api/orders/{order['order_id']}/cancel")
        return f"{said}; cancelled again"

    async def pay(self, currency: Asset) -> str | Skipped:
        """Let the lab's wallet pay the order."""
        if self._pay is None:
            return Skipped("nothing is paid without --lab: here money may be real")
        return await self._pay(str(self._orders[currency]["order_id"]))

    async def settled(self, currency: Asset) -> str:
        """Wait until the paid order is settled and has its licence."""
        path = f"/api/orders/{self._orders[currency]['order_id']}"
        at_most = SETTLED_SECONDS[currency]
        began = perf_counter()
        told: dict[str, Any] = {"order": {"state": "unknown"}}
        while perf_counter() - began < at_most:
            told = (await self._expect(200, "GET", path)).body
            if told["order"]["state"] == "SETTLED":
                licence = told["licence"]
                if licence is None or licence["text"] is None:
                    raise StepError(
                        "SETTLED, but no licence came", "see licence.key in the state folder: docs/licences.md"
                    )
                return f"SETTLED, licence {licence['id']} until {licence['expires_at']}"
            await asyncio.sleep(LOOK_SECONDS)
        raise StepError(f"still {told['order']['state']} after {at_most:.0f} s", SCAN_MEND)

    async def rate_limit(self) -> str | Skipped:
        """Ask too often on a token of its own: 429 with Retry-After, and an answer again after that long."""
        if self._burst_token is None:
            return Skipped("no token to spare: give one of scope pay with --burst-token-file")
        began = perf_counter()
        asked = 0
        while asked < BURST_CALLS and perf_counter() - began < BURST_SECONDS:
            asked += BURST_ABREAST
            for answer in await asyncio.gather(*(self._burst() for _ in range(BURST_ABREAST))):
                if answer.status == httpx.codes.TOO_MANY_REQUESTS:
                    return await self._let_in_again(answer, asked, perf_counter() - began)
        raise StepError(
            f"{asked} calls in {perf_counter() - began:.0f} s were all answered",
            "lower X0_SHOP_CALLS_PER_MINUTE; behind several gateways each counts for itself",
        )

    async def _let_in_again(self, refused: Answer, asked: int, seconds: float) -> str:
        wait = refused.headers.get("Retry-After", "")
        if not wait.isdigit():
            raise StepError("429 came without Retry-After", SHOP_MEND)
        await asyncio.sleep(int(wait))
        again = await self._burst()
        if again.status != httpx.codes.OK:
            raise StepError(f"after the {wait} s it asked for it answered {again.detail}", SHOP_MEND)
        return f"429 after at most {asked} calls in {seconds:.1f} s, let in again after Retry-After's {wait} s"

    async def _burst(self) -> Answer:
        return await self._caller.ask("GET", "/api/plans", token=self._burst_token)

    async def _verified(self, status: int, wish: dict[str, Any]) -> Answer:
        answer = await self._caller.ask("POST", "/api/payment/verify", token=self._token, body=wish)
        if answer.status == httpx.codes.SERVICE_UNAVAILABLE:
            raise StepError(f"the chain cannot be read: {answer.detail}", SCAN_MEND)
        if answer.status != status:
            raise StepError(f"POST /api/payment/verify answered {answer.detail}, not {status}", SHOP_MEND)
        if answer.seconds > VERIFY_SECONDS:
            raise StepError(f"answered after {answer.seconds:.1f} s, promised within {VERIFY_SECONDS:g} s", SCAN_MEND)
        return answer

    async def _expect(self, status: int, method: str, path: str, *, body: Any = None) -> Answer:
        return await self._caller.expect(status, method, path, token=self._token, body=body, mend=SHOP_MEND)


def _ms(answer: Answer) -> str:
    return f"{answer.seconds * 1000:.0f} ms"
