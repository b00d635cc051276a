"""A whole sale's log, and not one secret in it: tokens, provider keys, the key that signs licences, licences."""

from __future__ import annotations

import io

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.api.__main__ import trade_of
from infra.api.app import create_app
from infra.api.gateway import digest_of
from infra.licences import PRIVATE_NAME, create_licence_key, load_signer
from infra.log import configure
from infra.settings import Settings
from infra.shop.settings import ShopSettings
from models.payment import OrderId
from models.payment_state import Decision
from tests.fakes.chains.examples import OURS
from tests.infra.api.world import AS_BUYER, AS_OPERATOR, NOW, OPERATE, PAY, BrokenStore, StandingClock
from tests.infra.shop.counter import a_shop, scanned

PROVIDER_KEYS = {
    "TRONSCAN_API_KEY": "tronscan-key-3a7c",
    "TRONGRID_API_KEY": "trongrid-key-81bd",
    "TON_API_KEY": "tonapi-key-c5e9",
    "TONCENTER_API_KEY": "toncenter-key-20f6",
}


@pytest.fixture
def installation(tmp_path, monkeypatch) -> Settings:
    """A state folder with a licence key, and everything that a shop reads from the environment."""
    for name, value in PROVIDER_KEYS.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "plans.yaml").write_text("plans: [{name: week, days: 7, prices: {USDT: 2.99}}]")
    monkeypatch.setenv("X0_PLANS", str(tmp_path / "plans.yaml"))
    monkeypatch.setenv("X0_DEPOSIT_TRON", str(OURS))
    create_licence_key(tmp_path)
    return Settings(state=tmp_path, mesh="lab")


@pytest.fixture
def stream():
    return io.StringIO()


@pytest.mark.parametrize("for_people", [True, False])
async def test_a_sale_from_order_to_licence_and_everything_that_goes_wrong_logs_no_secret(
    installation, store, stream, for_people
):
    configure(stream, for_people=for_people)
    trade = trade_of(installation, ShopSettings())
    app = create_app(store, installation, StandingClock(), trade=trade)
    door = httpx.ASGITransport(app, raise_app_exceptions=False)
    await scanned(store, at=NOW)
    async with httpx.AsyncClient(transport=door, base_url="http://gateway", headers=AS_BUYER) as carol:
        order = (await carol.post("/api/orders", json={"plan": "week", "currency": "USDT"})).json()
        wish = {"order_id": order["order_id"], "amount": order["amount"], "currency": "USDT"}
        await carol.post("/api/payment/verify", json=wish | {"tx_hash": "ab" * 32})
        await a_shop(store, StandingClock()).decide(
            OrderId(order["order_id"]), Decision.CONFIRM, actor="cli:root", reason="seen"
        )
        paid = (await carol.post("/api/payment/verify", json=wish)).json()
        await carol.post("/api/payment/verify", json=wish | {"amount": PAY})
        await carol.get(f"/api/orders/{order['order_id']}?token={PAY}")
        await carol.post("/api/payment/refund-note", json={"order_id": order["order_id"], "note": PAY})
        await carol.post(
            "/api/payment/refund-note", json={"order_id": order["order_id"], "note": "sent back"}, headers=AS_OPERATOR
        )
        app.state.gateway = create_app(
            BrokenStore(ZeroDivisionError("a defect")), installation, StandingClock(), trade=trade
        ).state.gateway
        assert (await carol.post("/api/payment/verify", json=wish)).status_code == 500
    written = stream.getvalue()
    for event in ("order placed", "payment claimed", "order decided", "request answered", "Traceback"):
        assert event in written
    licence = paid["licence"]["text"]
    private: Ed25519PrivateKey = load_signer(installation.state / PRIVATE_NAME)._key
    secrets = [PAY, OPERATE, digest_of(PAY), licence, licence.rpartition(".")[2], *PROVIDER_KEYS.values()]
    secrets += [private.private_bytes_raw().hex(), str(private.private_bytes_raw())]
    assert [one for one in secrets if one in written] == []
