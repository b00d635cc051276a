"""Issue 5, done when 6 and under `up --lab`: money in, a licence out, and the gate as the licence says."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from flows.commands import lab_pay
from infra.lab.chains.living import Paid
from infra.lab.clients import CLIENT
from models.payment_address import Chain
from models.ports import Scope
from tests.e2e.house import House
from tests.e2e.messenger import Messenger
from tests.e2e.orchestrator import run_deployment, run_named
from tests.e2e.waiting import NotYet, until

# TON's next block, two scans and a proof: 3 s on an idle machine.
SETTLED_WITHIN = 60.0
# The watch looks once a second, the collector's courier twice, nft answers in 0.1 s.
GATE_WITHIN = 30.0
RU = {"hello": "продаю доступ", "choose": "чем заплатите", "card": "Отправьте ровно", "licence": "Вот ваша"}
EN = {"hello": "sell access", "choose": "how will you pay", "card": "Send exactly", "licence": "Here is your"}

Json = dict[str, Any]


@pytest.fixture
async def shop(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """A web shop's way in: a token that buys and reads nothing of the mesh."""
    made = await asyncio.to_thread(house.run, "token", "create", "web-shop", "--scope", Scope.PAY)
    assert made.returncode == 0, made.stderr
    bearer = {"Authorization": f"Bearer {made.stdout.strip()}"}
    async with httpx.AsyncClient(base_url=house.gateway, headers=bearer, trust_env=False, timeout=10) as api:
        yield api


async def bought(shop: httpx.AsyncClient) -> Json:
    """Order a week for TON."""
    answer = await shop.post("/api/orders", json={"plan": "week", "currency": "TON"})
    assert answer.status_code == httpx.codes.CREATED, answer.text
    order: Json = answer.json()
    assert order["state"] == "NEW"
    return order


async def settled(shop: httpx.AsyncClient, order: str) -> Json:
    """Wait until an order is paid for good, and return it with its licence."""

    async def is_settled() -> Json | NotYet:
        story: Json = (await shop.get(f"/api/orders/{order}")).raise_for_status().json()
        return story if story["order"]["state"] == "SETTLED" else NotYet(str(story["order"]))

    return await until(f"{order} to be settled", is_settled, within=SETTLED_WITHIN)


async def gate_becomes(house: House, *, open_: bool) -> None:
    """Wait until the lab's client gets an answer through the mesh's gateway, or gets none any more."""
    lab = house.lab
    target = lab.mesh.nodes[-1].address
    words = ["ip", "netns", "exec", lab.client, "ping", "-n", "-q", "-c", "1", "-W", "1", target]

    async def is_so() -> bool | NotYet:
        answered = (await asyncio.to_thread(subprocess.run, words, check=False, capture_output=True)).returncode == 0
        return True if answered is open_ else NotYet(f"answered: {answered}")

    await until(f"the gate to be {'open' if open_ else 'shut'}", is_so, within=GATE_WITHIN)


async def test_a_paid_order_earns_a_licence_that_opens_the_gate_until_it_is_taken_back(
    house: House, shop: httpx.AsyncClient
):
    order = (await bought(shop))["order_id"]
    paid = await asyncio.to_thread(house.run, "lab", "pay", order)
    assert paid.returncode == 0, paid.stderr
    story = await settled(shop, order)
    text = story["licence"]["text"]
    checked = await asyncio.to_thread(house.run, "licence", "verify", text)
    assert checked.returncode == 0, checked.stderr
    assert story["licence"]["id"] in checked.stdout

    await gate_becomes(house, open_=False)
    activated = await asyncio.to_thread(house.run, "licence", "activate", text, CLIENT)
    assert activated.returncode == 0, activated.stderr
    await gate_becomes(house, open_=True)
    revoked = await asyncio.to_thread(house.run, "licence", "revoke", story["licence"]["id"], "--reason", "tried")
    assert revoked.returncode == 0, revoked.stderr
    await gate_becomes(house, open_=False)
    refused = await asyncio.to_thread(house.run, "licence", "activate", text, CLIENT)
    assert refused.returncode == 1, refused.stdout
    assert "Traceback" not in refused.stderr


async def test_prefect_shows_the_scans_and_a_claim_as_a_run_of_its_own(house: House, shop: httpx.AsyncClient):
    for chain in Chain:
        assert await run_named(house, "scan-chain", f"scan {chain}", "RUNNING")
    order = await bought(shop)
    paid = Paid(chain=Chain.TON, to=order["address"], units=order["amount"], comment=order["comment"], payer="claimant")
    tx = await lab_pay.send(house.state, paid)
    asked = {"order_id": order["order_id"], "amount": order["amount"], "currency": "TON", "tx_hash": tx}
    first = await shop.post("/api/payment/verify", json=asked)
    assert first.status_code == httpx.codes.ACCEPTED, first.text
    await settled(shop, order["order_id"])

    run = await run_named(house, "confirm-payment", f"confirm {order['order_id']}", "COMPLETED")

    assert run["parameters"]["asked"] == {"order": order["order_id"], "tx": tx}
    second = await shop.post("/api/payment/verify", json=asked)
    assert second.status_code == httpx.codes.OK
    assert second.json()["verified"] is True


@pytest.mark.parametrize(("number", "language", "words"), [(7001, "en", EN), (7002, "ru", RU)], ids=["en", "ru"])
async def test_a_customer_of_the_bot_comes_from_start_to_a_genuine_licence(
    house: House, messenger: Messenger, number: int, language: str, words: dict[str, str]
):
    person = messenger.person(number, language=language)
    await person.says("/start")
    await person.hears(words["hello"])
    await person.says("/buy")
    await person.hears(words["choose"])
    await person.presses("week · 2 TON")
    card = await person.hears(words["card"])
    named = re.search(r"ord-\w+", card)
    assert named is not None, card

    paid = await asyncio.to_thread(house.run, "lab", "pay", named[0])

    assert paid.returncode == 0, paid.stderr
    handed = await person.hears(words["licence"])
    text = next(line for line in handed.splitlines() if line.startswith("ey"))
    checked = await asyncio.to_thread(house.run, "licence", "verify", text, "--json")
    assert checked.returncode == 0, checked.stderr
    assert f'"{named[0]}"' in checked.stdout


async def test_what_looks_after_the_ledger_runs_through_a_worker_to_its_end(house: House):
    # Side by side: each spends most of its time in starting.
    runs = await asyncio.gather(
        run_deployment(house, "reconcile-ledger/nightly"), run_deployment(house, "expire-orders/hourly")
    )

    assert [one["state_type"] for one in runs] == ["COMPLETED", "COMPLETED"], [one["state"] for one in runs]
