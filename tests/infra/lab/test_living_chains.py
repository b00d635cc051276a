from datetime import UTC, datetime, timedelta

import httpx
import pytest

from flows.commands.lab_pay import payment_of, send
from infra.chains.providers import open_providers
from infra.chains.settings import ChainSettings
from infra.lab.chains.living import JOURNAL, LivingChains, prepare, read_facts
from infra.lab.chains.server import serving
from infra.shop.settings import ShopSettings, catalogue_of
from models.errors import ConfigurationInvalid, PaymentInvalid, SourceUnavailable
from models.payment import Asset, Money, Provider
from models.payment_address import Chain, parse_address
from models.payment_ports import CompletePage
from models.payment_quorum import TxState
from tests.fakes.chains.examples import order

BEGAN = datetime(2026, 11, 22, 9, 0, 0, 400_000, tzinfo=UTC)


class MovableClock:
    def __init__(self):
        self.at = BEGAN

    def now(self):
        return self.at


@pytest.fixture
def clock():
    return MovableClock()


@pytest.fixture
def environment(tmp_path, clock, monkeypatch):
    told = prepare(tmp_path, clock)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    return told


async def paid(chains, **facts):
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.post(f"{chains.url}/lab/pay", json=facts)


def test_the_environment_sells_the_example_plans_to_addresses_of_this_lab(tmp_path, environment):
    catalogue = catalogue_of(ShopSettings())
    assert [plan.name for plan in catalogue.plans] == ["week", "month"]
    assert set(catalogue.deposits) == set(Chain)
    assert ChainSettings().tronscan_url == f"{read_facts(tmp_path).url}/tronscan"


def test_preparing_again_changes_nothing(tmp_path, clock, environment):
    (tmp_path / "chains/plans.yaml").write_text("# my own\n")
    clock.at += timedelta(days=1)
    assert prepare(tmp_path, clock) == environment
    assert (tmp_path / "chains/plans.yaml").read_text() == "# my own\n"


@pytest.mark.parametrize(("provider", "final_after_s"), [(Provider.TRONSCAN, 70), (Provider.TONAPI, 3)])
async def test_a_payment_by_hand_is_told_by_the_providers_and_survives_a_restart(
    tmp_path, clock, environment, provider, final_after_s
):
    deposit = parse_address(environment[f"X0_DEPOSIT_{provider.chain.name}"], provider.chain)
    clock.at += timedelta(minutes=5)
    async with serving(LivingChains.of(tmp_path, clock)) as chains:
        answer = (await paid(chains, chain=provider.chain, to=str(deposit), units=5_000_123, comment="ord-x")).json()
    clock.at += timedelta(seconds=final_after_s)
    again = serving(LivingChains.of(tmp_path, clock), port=read_facts(tmp_path).port)
    async with again, open_providers(ChainSettings(), clock) as opened:
        page = await opened.all[provider].discover(deposit, since=BEGAN)
    assert isinstance(page, CompletePage)
    (sighting,) = page.sightings
    assert (sighting.tx.hex(), sighting.state) == (answer["tx"], TxState.FINAL)
    assert [one.units for one in sighting.transfers] == [5_000_123]
    assert sighting.transfers[0].block_time == datetime.fromisoformat(answer["block_time"])


async def test_blocks_follow_the_clock(tmp_path, clock, environment):
    chains = LivingChains.of(tmp_path, clock)
    clock.at += timedelta(minutes=1)
    chains.catch_up()
    assert timedelta(0) <= clock.at - chains.together.stand_in.ton.now() < timedelta(seconds=1)
    assert timedelta(0) <= clock.at - chains.together.stand_in.tron.now() < timedelta(seconds=3)


@pytest.mark.parametrize("chain", list(Chain))
async def test_many_payments_at_once_share_a_block_and_take_no_chain_ahead_of_the_clock(
    tmp_path, clock, environment, chain
):
    deposit = environment[f"X0_DEPOSIT_{chain.name}"]
    async with serving(LivingChains.of(tmp_path, clock)) as chains:
        told = [(await paid(chains, chain=chain, to=deposit, units=1_000_000 + one)).json() for one in range(40)]
    assert chains.together.now() <= clock.at
    assert len({one["tx"] for one in told}) == 40
    (block_time,) = {datetime.fromisoformat(one["block_time"]) for one in told}
    assert timedelta(0) < block_time - clock.at <= timedelta(seconds=3)


@pytest.mark.parametrize(
    "wrong", [{"to": "TR7N"}, {"units": 0}, {"units": -1}, {"units": 2**63}, {"at_will": True}, {"chain": "bitcoin"}]
)
async def test_what_is_no_payment_is_refused_and_not_kept(tmp_path, clock, environment, wrong):
    good = {"chain": "tron", "to": environment["X0_DEPOSIT_TRON"], "units": 5}
    async with serving(LivingChains.of(tmp_path, clock)) as chains:
        assert (await paid(chains, **(good | wrong))).status_code == 422
    assert not (tmp_path / "chains" / JOURNAL).exists()


async def test_a_journal_that_was_changed_by_hand_is_named(tmp_path, clock, environment):
    (tmp_path / "chains" / JOURNAL).write_text('{"chain": "tron"}\n')
    with pytest.raises(ConfigurationInvalid, match=JOURNAL):
        LivingChains.of(tmp_path, clock)


async def test_a_line_that_a_crash_cut_short_is_no_payment(tmp_path, clock, environment):
    async with serving(LivingChains.of(tmp_path, clock)) as chains:
        await paid(chains, chain="tron", to=environment["X0_DEPOSIT_TRON"], units=5)
    journal = tmp_path / "chains" / JOURNAL
    whole = journal.read_text()
    journal.write_text(whole + '{"chain": "tr')
    assert len(LivingChains.of(tmp_path, clock).together.stand_in.tron.calls) == 1
    assert journal.read_text() == whole


def test_a_state_folder_without_a_lab_says_what_to_do(tmp_path):
    with pytest.raises(ConfigurationInvalid, match="up --lab"):
        read_facts(tmp_path)


async def test_the_command_pays_what_is_due_with_the_orders_comment(tmp_path, clock, environment):
    asked = order(2_000_000, asset=Asset.TON, code="ord-22223333")
    payment = payment_of(asked, asked.remainder, comment=None, payer="anna")
    assert (payment.units, payment.comment, payment.chain) == (2_000_000, "ord-22223333", Chain.TON)
    assert payment_of(asked, Money(Asset.TON, 7), comment="", payer="anna").comment is None
    with pytest.raises(SourceUnavailable, match="is the lab up"):
        await send(tmp_path, payment)
    async with serving(LivingChains.of(tmp_path, clock), port=read_facts(tmp_path).port) as chains:
        tx = bytes.fromhex(await send(tmp_path, payment))
        clock.at += timedelta(seconds=2)
        chains.catch_up()
        assert chains.together.stand_in.ton.find(tx) is not None
        with pytest.raises(PaymentInvalid, match="base64"):
            await send(tmp_path, payment.model_copy(update={"to": str(asked.deposit)[:-1] + "!"}))


async def test_a_provider_is_harmed_by_hand_and_mended(tmp_path, clock, environment):
    async with serving(LivingChains.of(tmp_path, clock)) as chains, httpx.AsyncClient(trust_env=False) as client:

        async def harm(**facts):
            return (await client.post(f"{chains.url}/lab/trouble", json=facts)).status_code

        async def answers():
            return [(await client.get(f"{chains.url}/tronscan/api/block")).status_code for _ in range(3)]

        assert await harm(provider="tronscan", fault="503", times=2) == 200
        assert await answers() == [503, 503, 200]
        assert await harm(provider="tronscan", fault="500") == 200
        assert await answers() == [500, 500, 500]
        assert await harm(provider="tronscan") == 200
        assert await answers() == [200, 200, 200]
        assert await harm(provider="tronscan", fault="sulks") == 422
