"""What TON's APIs do that has cost others money, one test each; both providers must tell the same."""

from datetime import timedelta

import pytest

from infra.lab.chains.made import NOON, account
from infra.lab.chains.ton_apis import text_cell
from infra.lab.chains.ton_world import Receipt
from models.errors import ChainAnswerInvalid
from models.payment import Asset, Caution, Provider
from models.payment_address import Chain
from models.payment_ports import IncompletePage
from models.payment_quorum import TxState, weigh
from models.payment_rules import Ruling
from tests.contracts.chains import HOUR, discovered, units
from tests.fakes.chains.examples import OURS_ON_TON, TON_BOTH

API, CENTER = Provider.TONAPI, Provider.TONCENTER
TON = 10**9


@pytest.fixture(params=[API, CENTER])
def side(request, chains):
    return chains.side(request.param)


@pytest.fixture
def ton(chains):
    return chains.stand_in.ton


@pytest.mark.parametrize(
    ("receipt", "caution"),
    [
        (Receipt(comment="ord-7k2m9qab"), None),
        (Receipt(bounce=False, exit_code=-14), None),
        (Receipt(bounce=False, skipped="no_gas"), None),
        (Receipt(skipped="no_state", bounce=False), None),
        (Receipt(bounce=False, action_success=False), Caution.ACTION_FAILED),
        (Receipt(op=0xCB6BF173), Caution.OPAQUE_BODY),
        (Receipt(end_status="frozen"), None),
    ],
)
async def test_value_that_stays_is_a_payment_whatever_the_success_flag_says(side, ton, receipt, caution):
    ton.pay(OURS_ON_TON, 5 * TON, receipt)
    page = await discovered(side)
    (transfer,) = (one for sighting in page.sightings for one in sighting.transfers)
    assert (transfer.units, transfer.caution, transfer.memo) == (5 * TON, caution, receipt.comment)
    assert page.remarks == ({Ruling.FROZEN_ACCOUNT: 1} if receipt.end_status == "frozen" else {})


@pytest.mark.parametrize(
    ("receipt", "ruling"),
    [
        (Receipt(bounced=True, bounce=False, op=0xFFFFFFFF), Ruling.BOUNCED),
        (Receipt(bounce_phase=True, exit_code=131, sends_back=True), Ruling.BOUNCED),
        (Receipt(bounce_phase=True, skipped="no_state"), Ruling.BOUNCED),
        (Receipt(sends_back=True), Ruling.BOUNCED),
        (Receipt(kind="tick"), Ruling.NOT_A_TRANSFER),
        (Receipt(op=0x7362D09C), Ruling.TOKEN_NOTICE),
    ],
)
async def test_value_that_went_back_and_what_is_no_transfer_is_no_payment(side, ton, receipt, ruling):
    tx = ton.pay(OURS_ON_TON, 5 * TON, receipt)
    page = await discovered(side)
    assert (page.sightings, page.remarks) == ((), {ruling: 1})
    proof = await side.asked.prove(tx, address=OURS_ON_TON)
    assert (proof.state, proof.transfers) == (TxState.FINAL, ())


async def test_a_comment_without_value_is_no_payment(side, ton):
    ton.pay(OURS_ON_TON, 0, comment="ord-7k2m9qab")
    assert (await discovered(side)).remarks == {Ruling.WORTHLESS: 1}


@pytest.mark.parametrize("text", ["не спам", "<b>'; drop table orders; --", "😀\u202e" * 100, ""])
async def test_a_comment_comes_through_as_it_was_written(side, ton, text):
    ton.pay(OURS_ON_TON, TON, comment=text)
    ((sighting),) = (await discovered(side)).sightings
    assert sighting.transfers[0].memo == text


async def test_a_comment_that_was_not_decoded_is_read_from_the_body_and_a_broken_one_is_marked(side, ton):
    ton.pay(OURS_ON_TON, TON, Receipt(op=0, raw_body=text_cell("ord-7k2m9qab").hex()))
    ton.pay(OURS_ON_TON, TON, Receipt(op=0, raw_body="b5ee9c7201"))
    first, second = (one.transfers[0] for one in (await discovered(side)).sightings)
    assert (first.memo, first.caution) == ("ord-7k2m9qab", None)
    assert (second.memo, second.caution) == (None, Caution.OPAQUE_BODY)


async def test_both_providers_tell_one_payment_as_the_same(chains, ton):
    tx = ton.pay(OURS_ON_TON, 5 * TON, Receipt(comment="ord-7k2m9qab", bounce=False, exit_code=-14))
    told = [*(await discovered(chains.side(API))).sightings]
    told += (await chains.side(CENTER).asked.prove(tx, address=OURS_ON_TON)).sightings
    (transfer,) = weigh(told)
    assert (transfer.final, transfer.disputed, transfer.vouched_by) == (True, False, TON_BOTH)
    assert (transfer.sender, transfer.receiver) == (account(Chain.TON, "payer"), OURS_ON_TON)


async def test_a_forecast_is_pending(chains, ton):
    tx = ton.pay(OURS_ON_TON, TON, forecast=True)
    center = chains.side(CENTER)
    assert [one.state for one in (await discovered(center)).sightings] == [TxState.PENDING]
    assert (await center.asked.prove(tx, address=OURS_ON_TON)).state is TxState.PENDING
    ton.solidify()
    assert (await center.asked.prove(tx, address=OURS_ON_TON)).state is TxState.FINAL


async def test_a_message_hash_and_a_trace_lead_to_the_transaction_on_our_account(side, ton):
    tx = ton.pay(OURS_ON_TON, TON)
    received = ton.find(tx)
    for shown in (received.message, received.trace):
        proof = await side.asked.prove(shown, address=OURS_ON_TON)
        assert [one.tx for one in proof.transfers] == [tx]
        assert (proof.asked, proof.state) == (shown, TxState.FINAL)


async def test_a_payment_to_somebody_else_proves_nothing_for_us(side, ton):
    tx = ton.pay(account(Chain.TON, "elsewhere"), TON)
    proof = await side.asked.prove(tx, address=OURS_ON_TON)
    assert (proof.state, proof.transfers) == (TxState.FINAL, ())


async def test_a_missing_transaction_in_the_chain_of_hashes_makes_the_page_incomplete(side, ton):
    for number in range(3):
        ton.pay(OURS_ON_TON, TON + number)

    def without_the_second(_, body):
        body.get("transactions", [])[1:2] = []
        return body

    side.faults.lie = without_the_second
    page = await side.asked.discover(OURS_ON_TON, since=NOON - HOUR)
    assert isinstance(page, IncompletePage)
    assert "missing" in page.reason


async def test_a_history_that_ends_too_soon_is_incomplete(side, ton):
    for number in range(5):
        ton.pay(OURS_ON_TON, TON + number)

    def forgetful(_, body):
        body["transactions"] = body["transactions"][:2] if "newest" not in seen else []
        seen.append("newest")
        return body

    seen: list[str] = []
    side.faults.lie = forgetful
    page = await side.asked.discover(OURS_ON_TON, since=NOON - HOUR)
    assert isinstance(page, IncompletePage)
    assert len(page.sightings) == 2


async def test_a_page_cap_that_was_lowered_silently_loses_nothing(side, ton):
    for number in range(20):
        ton.pay(OURS_ON_TON, TON + number)
    side.faults.page_rows = 3
    assert len(units(await discovered(side))) == 20


async def test_a_usual_tick_is_one_call(side, ton):
    for number in range(5):
        ton.pay(OURS_ON_TON, TON + number)
    ton.mine(120)
    ton.pay(OURS_ON_TON, 2 * TON)
    assert units(await discovered(side, since=ton.now() - timedelta(seconds=60))) == [2 * TON]
    assert len(side.faults.calls) == 1


async def test_a_transaction_that_breaks_the_contract_is_refused(side, ton):
    ton.pay(OURS_ON_TON, TON)

    def signed(_, body):
        for row in body.get("transactions", []):
            row["lt"] = -1
        return body

    side.faults.lie = signed
    with pytest.raises(ChainAnswerInvalid, match="lt"):
        await side.asked.discover(OURS_ON_TON, since=NOON - HOUR)


async def jetton_units(chains):
    page = await chains.jettons.discover_jettons(OURS_ON_TON, since=NOON - HOUR)
    return [(one.transfers[0].units, one.transfers[0].memo, one.transfers[0].asset) for one in page.sightings]


async def test_usdt_on_ton_is_told_with_or_without_a_readable_comment(chains, ton):
    comment = {"SumType": "TextComment", "OpCode": 0, "Value": {"Text": "ord-7k2m9qab"}}
    payloads = [comment, None, {"Value": 7}, "te6cc", [1], {"Value": {"Text": ["?"]}}]
    for number, payload in enumerate(payloads):
        ton.pay_jettons(OURS_ON_TON, 1_000_000 + number, payload=payload)
    ton.pay_jettons(account(Chain.TON, "elsewhere"), 9)
    told = await jetton_units(chains)
    assert told[0] == (1_000_000, "ord-7k2m9qab", Asset.USDT_TON)
    assert told[1:] == [(1_000_000 + number, None, Asset.USDT_TON) for number in range(1, 6)]


async def test_a_jetton_of_another_master_is_not_usdt_even_if_told_so(chains, ton):
    ton.pay_jettons(OURS_ON_TON, 5_000_000)

    def other_master(_, body):
        for row in body.get("operations", []):
            row["jetton"]["address"] = account(Chain.TON, "fake").raw_text
        return body

    chains.stand_in.faults[API].lie = other_master
    page = await chains.jettons.discover_jettons(OURS_ON_TON, since=NOON - HOUR)
    assert page.sightings == ()
    assert page.remarks[Ruling.FAKE_TOKEN] >= 1


async def test_many_jetton_transfers_are_read_over_pages(chains, ton):
    for number in range(7):
        ton.pay_jettons(OURS_ON_TON, 1_000_000 + number)
    chains.stand_in.faults[API].page_rows = 3
    assert len(await jetton_units(chains)) == 7
