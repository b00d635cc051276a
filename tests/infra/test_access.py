"""Earning a licence, using it, taking it back: over the fake store, whose laws are the schema's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.access import Access, earn
from infra.licences import LicenceSigner, LicenceVerifier
from models.errors import ConfigurationInvalid, LicenceInvalid, LicenceRefused, PaymentInvalid, RefusedError
from models.ledger import BuyerId, IssuedLicence, Language, MessageKind, Plan, Sale
from models.payment import Asset
from models.payment_policy import PaymentPolicy
from models.payment_state import advance
from models.ports import Store
from tests.fakes.chains.examples import order, paid
from tests.fakes.node import FakeClock
from tests.fakes.store import FakeStore

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ANNA, BORIS = "10.45.0.2", "fd45::2"


async def settled(
    store: Store, now: datetime, *, name: str = "o1", days: int = 30, devices: int = 2, language=Language.ENGLISH
) -> Sale:
    """Open an order and pay it; amounts differ by the order's name."""
    units = 29_000_000 + sum(name.encode())
    opened = order(units, name=name, created_at=now)
    plan = Plan("month", days, devices, {Asset.USDT_TRON: units})
    sale = Sale(opened, BuyerId("telegram:4711"), plan, language)
    transfer = replace(paid(units, name=name), block_time=now)
    async with store.unit() as unit:
        await unit.ledger.open_order(sale)
        done = advance(opened, [transfer], now, policy=PaymentPolicy(), scanned_until=now)
        await unit.ledger.save(done, [transfer])
    return replace(sale, order=done)


@dataclass
class Counter:
    """A shop with one settled order, and what it may do with licences."""

    store: FakeStore
    clock: FakeClock
    access: Access

    async def sold(self, **how) -> IssuedLicence:
        sale = await settled(self.store, self.clock.now(), **how)
        async with self.store.unit() as unit:
            return await earn(unit, sale, now=self.clock.now())


@pytest.fixture
def counter() -> Counter:
    store, clock = FakeStore(), FakeClock(NOW)
    return Counter(store, clock, Access(store, clock, licences=LicenceSigner(KEY), mesh="lab", gateway_node="n0"))


async def test_a_settled_order_earns_one_licence_and_one_message_however_often_it_is_asked(counter: Counter):
    sale = await settled(counter.store, NOW, language=Language.RUSSIAN)
    for later in (0, 5):
        async with counter.store.unit() as unit:
            licence = await earn(unit, sale, now=NOW + timedelta(seconds=later))
    assert (licence.id, licence.issued_at, licence.expires_at) == ("lic-o1", NOW, NOW + timedelta(days=30))
    async with counter.store.unit() as unit:
        (message,) = await unit.outbox.waiting(now=NOW + timedelta(minutes=1))
        assert await unit.licences.of_order(sale.order.id) == licence
    assert (message.key, message.kind, message.to) == ("licence:o1", MessageKind.LICENCE, "telegram:4711")
    assert message.facts["language"] == "ru"
    assert message.facts["expires_at"] == licence.expires_at.isoformat()


async def test_an_order_that_is_not_settled_earns_nothing_not_even_a_message(counter: Counter):
    opened = order(29_000_001, name="o1", created_at=NOW)
    sale = Sale(opened, BuyerId("telegram:4711"), Plan("month", 30, 2, {}))
    async with counter.store.unit() as unit:
        await unit.ledger.open_order(sale)
    with pytest.raises(RefusedError, match="settled"):
        async with counter.store.unit() as unit:
            await earn(unit, sale, now=NOW)
    async with counter.store.unit() as unit:
        assert await unit.outbox.waiting(now=NOW) == []


async def test_a_licence_lets_in_as_many_addresses_as_its_plan_says_and_the_same_one_again(counter: Counter):
    licence = await counter.sold(devices=2)
    text = counter.access.text_of(licence)
    for address in (ANNA, f" {ANNA} ", BORIS, "FD45:0::2"):
        admission = await counter.access.activate(text, address)
        assert (admission.node, admission.until) == ("n0", licence.expires_at)
    with pytest.raises(LicenceRefused, match=r"admits 2 addresses at once \(10\.45\.0\.2, fd45::2\)"):
        await counter.access.activate(text, "10.45.0.9")
    status = await counter.access.status(text)
    assert {one.address for one in status.admissions} == {ANNA, BORIS}
    assert await counter.access.release(text, BORIS)
    assert not await counter.access.release(text, BORIS)
    assert (await counter.access.activate(text, "10.45.0.9")).address == "10.45.0.9"


async def test_an_expired_licence_opens_nothing(counter: Counter):
    text = counter.access.text_of(await counter.sold())
    counter.clock.advance(timedelta(days=30))
    for use in (counter.access.activate(text, ANNA), counter.access.verify(text)):
        with pytest.raises(LicenceRefused, match="expired on 31 Mar 2026"):
            await use


async def test_a_revoked_licence_opens_nothing_and_who_it_let_in_is_out(counter: Counter):
    licence = await counter.sold()
    text = counter.access.text_of(licence)
    await counter.access.activate(text, ANNA)
    taken_back = await counter.access.revoke(licence.id, actor="cli:root", reason=" charged back ")
    assert taken_back.revoked_at == NOW
    assert (await counter.access.status(text)).admissions == ()
    for use in (counter.access.activate(text, ANNA), counter.access.verify(text)):
        with pytest.raises(LicenceRefused, match="taken back"):
            await use


async def test_taking_back_is_recorded_once_with_who_and_why(counter: Counter):
    licence = await counter.sold()
    for _ in range(2):
        await counter.access.revoke(licence.id, actor="cli:root", reason="charged back")
    async with counter.store.unit() as unit:
        entries = await unit.ledger.audit(licence.order)
    found = [(one.actor, one.detail) for one in entries if one.what == "licence-revoked"]
    assert found == [("cli:root", "lic-o1: charged back")]


async def test_taking_back_needs_a_reason_and_a_licence(counter: Counter):
    licence = await counter.sold()
    with pytest.raises(LicenceRefused, match="say why"):
        await counter.access.revoke(licence.id, actor="cli:root", reason="  ")
    with pytest.raises(LicenceRefused, match="none of that id"):
        await counter.access.revoke("lic-nobody", actor="cli:root", reason="x")


async def test_a_genuine_text_that_the_ledger_does_not_know_opens_nothing(counter: Counter):
    licence = await counter.sold()
    text = LicenceSigner(KEY).text_of(replace(licence, id="lic-o2", order="o2"))
    with pytest.raises(LicenceRefused, match="does not know it"):
        await counter.access.activate(text, ANNA)


async def test_what_counts_is_what_the_ledger_says_and_not_what_the_text_does(counter: Counter):
    licence = await counter.sold(days=1)
    longer = replace(licence, expires_at=licence.expires_at + timedelta(days=100), devices=99)
    admission = await counter.access.activate(LicenceSigner(KEY).text_of(longer), ANNA)
    assert admission.until == licence.expires_at


async def test_a_text_of_another_key_is_refused_before_the_ledger_is_asked(counter: Counter):
    licence = await counter.sold()
    forged = LicenceSigner(Ed25519PrivateKey.generate()).text_of(licence)
    counter.store.is_down = True
    with pytest.raises(LicenceInvalid):
        await counter.access.activate(forged, ANNA)


async def test_an_address_that_no_client_has_is_refused(counter: Counter):
    text = counter.access.text_of(await counter.sold())
    with pytest.raises(PaymentInvalid, match="one IPv4 or IPv6 address"):
        await counter.access.activate(text, "10.45.0.0/24")


async def test_without_a_gateway_node_a_licence_is_told_that_nobody_opens(counter: Counter):
    text = counter.access.text_of(await counter.sold())
    nowhere = Access(counter.store, counter.clock, licences=LicenceSigner(KEY), mesh="lab", gateway_node=None)
    with pytest.raises(RefusedError, match="X0_GATEWAY_NODE"):
        await nowhere.activate(text, ANNA)


async def test_with_the_public_key_alone_licences_are_used_but_not_written(counter: Counter):
    licence = await counter.sold()
    text = counter.access.text_of(licence)
    reading = LicenceVerifier(KEY.public_key())
    access = Access(counter.store, counter.clock, licences=reading, mesh="lab", gateway_node="n0")
    assert (await access.verify(text)) == licence
    with pytest.raises(ConfigurationInvalid, match="no licence key"):
        access.text_of(licence)
