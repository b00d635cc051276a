from dataclasses import replace

import pytest

from infra.lab.chains.made import NOON, account, made_hash
from models.payment import Asset, Caution
from models.payment_address import Address, Chain
from models.payment_rules import (
    TRANSFER_TOPIC,
    USDT_TRON_CONTRACT,
    Ruling,
    TonMessage,
    TonTransaction,
    TronLog,
    TronReceipt,
    TronRow,
    rule_ton_transaction,
    rule_tron_results,
    rule_tron_row,
    transfer_of,
    transfers_in,
)
from tests.fakes.chains.examples import OURS, OURS_ON_TON

PAYER = account(Chain.TRON, "payer")

ROW = TronRow(
    tx=made_hash("row"),
    contract=USDT_TRON_CONTRACT,
    token_id=USDT_TRON_CONTRACT,
    symbol="USDT",
    decimals=6,
    event="Transfer",
    contract_type="trc20",
    status=0,
    contract_result="SUCCESS",
    final_result="SUCCESS",
    revert=False,
    confirmed=True,
    sender=PAYER,
    receiver=OURS,
    units=29_000_123,
    block=1,
    block_time=NOON,
)

LOOKALIKE = Address(Chain.TRON, USDT_TRON_CONTRACT.raw[:4] + bytes(13) + USDT_TRON_CONTRACT.raw[-4:])


def ruled(**facts):
    return rule_tron_row(replace(ROW, **facts), OURS)


def test_a_genuine_row_is_a_payment_also_without_its_optional_fields():
    assert ruled() is Ruling.CREDIT
    assert ruled(token_id=None, decimals=None, contract_type=None, status=None, final_result=None) is Ruling.CREDIT


@pytest.mark.parametrize(
    ("facts", "ruling"),
    [
        ({"contract": account(Chain.TRON, "fake"), "token_id": account(Chain.TRON, "fake")}, Ruling.FAKE_TOKEN),
        ({"contract": LOOKALIKE}, Ruling.FAKE_TOKEN),
        ({"contract": account(Chain.TRON, "usdc"), "symbol": "USDC"}, Ruling.OTHER_TOKEN),
        ({"decimals": 18}, Ruling.DRIFT),
        ({"token_id": LOOKALIKE}, Ruling.DRIFT),
        ({"event": "Approval"}, Ruling.NOT_A_TRANSFER),
        ({"contract_type": "trc721"}, Ruling.NOT_A_TRANSFER),
        ({"receiver": PAYER, "sender": OURS}, Ruling.OUTGOING),
        ({"sender": OURS}, Ruling.OUTGOING),
        ({"units": 0}, Ruling.WORTHLESS),
        ({"units": 10**40}, Ruling.WORTHLESS),
        ({"confirmed": False}, Ruling.WAIT),
        ({"status": 1}, Ruling.WAIT),
        ({"contract_result": "OUT_OF_ENERGY"}, Ruling.FAILED),
        ({"final_result": "FAILED"}, Ruling.FAILED),
        ({"contract_result": "TRANSFER_FAILED", "final_result": "TRANSFER_FAILED"}, Ruling.FAILED),
        ({"contract_result": "REVERT", "confirmed": False}, Ruling.WAIT),
        ({"contract_result": "SUCCESSFUL"}, Ruling.DRIFT),
        ({"revert": True}, Ruling.FAILED),
    ],
)
def test_a_row_that_is_no_payment_says_why(facts, ruling):
    assert ruled(**facts) is ruling


def test_a_contract_call_without_a_result_is_no_success():
    assert rule_tron_results((None,), confirmed=True) is Ruling.DRIFT


def log(sender=PAYER, receiver=OURS, units=29_000_123, contract=USDT_TRON_CONTRACT, topic=TRANSFER_TOPIC):
    return TronLog(contract.evm, (topic, bytes(12) + sender.evm, bytes(12) + receiver.evm), units.to_bytes(32, "big"))


def found(*logs):
    receipt = TronReceipt(made_hash("tx"), 7, NOON, "SUCCESS", ran_contract=True, logs=logs)
    return [(one.event_index, one.units) for one in transfers_in(receipt, OURS)]


def test_two_identical_transfers_in_a_receipt_are_told_apart_by_their_index():
    assert found(log(), log()) == [(0, 29_000_123), (1, 29_000_123)]


def test_only_tethers_own_transfer_logs_to_us_count():
    assert found(
        log(receiver=account(Chain.TRON, "relayer"), units=1_500_000),
        log(contract=account(Chain.TRON, "fake")),
        log(contract=LOOKALIKE),
        log(topic=made_hash("Approval")),
        log(units=0),
        log(sender=OURS),
        replace(log(), topics=()),
        replace(log(), data=b""),
        log(units=2**200),
        log(units=5),
    ) == [(9, 5)]


THEM = account(Chain.TON, "payer")
MESSAGE = TonMessage(
    internal=True, source=THEM, destination=OURS_ON_TON, units=10**9, bounce=True, bounced=False, op=0, comment="hello"
)
PAYMENT = TonTransaction(
    account=OURS_ON_TON,
    logical_time=10,
    tx=made_hash("ton"),
    previous=None,
    at=NOON,
    ordinary=True,
    message=MESSAGE,
    success=True,
    action_failed=False,
    bounce_phase=False,
    credited=10**9,
    returned_to=frozenset(),
    end_status="active",
    final=True,
)


def message(**facts):
    return replace(PAYMENT, message=replace(MESSAGE, **facts))


UNSUCCESSFUL = replace(message(bounce=False), success=False)


@pytest.mark.parametrize(
    ("transaction", "ruling"),
    [
        (PAYMENT, Ruling.CREDIT),
        (UNSUCCESSFUL, Ruling.CREDIT),
        (replace(PAYMENT, final=False), Ruling.WAIT),
        (replace(PAYMENT, success=False), Ruling.BOUNCED),
        (replace(PAYMENT, bounce_phase=True), Ruling.BOUNCED),
        (replace(UNSUCCESSFUL, bounce_phase=True), Ruling.BOUNCED),
        (replace(PAYMENT, returned_to=frozenset({THEM})), Ruling.BOUNCED),
        (message(bounced=True), Ruling.BOUNCED),
        (message(units=0), Ruling.WORTHLESS),
        (message(op=0x7362D09C), Ruling.TOKEN_NOTICE),
        (message(op=0xD53276DB), Ruling.TOKEN_NOTICE),
        (message(internal=False), Ruling.NOT_A_TRANSFER),
        (replace(PAYMENT, ordinary=False), Ruling.NOT_A_TRANSFER),
        (replace(PAYMENT, message=None), Ruling.NOT_A_TRANSFER),
        (message(source=OURS_ON_TON), Ruling.OUTGOING),
        (message(destination=THEM), Ruling.OUTGOING),
        (replace(PAYMENT, account=THEM), Ruling.OUTGOING),
    ],
)
def test_on_ton_the_value_that_stays_counts_and_not_the_success_flag(transaction, ruling):
    assert rule_ton_transaction(transaction, OURS_ON_TON) is ruling
    assert (transfer_of(transaction, OURS_ON_TON) is not None) == (ruling in {Ruling.CREDIT, Ruling.WAIT})


@pytest.mark.parametrize(
    ("transaction", "caution"),
    [
        (PAYMENT, None),
        (message(op=None, comment=None), None),
        (message(op=0, comment=None), Caution.OPAQUE_BODY),
        (message(op=0x1234, comment=None), Caution.OPAQUE_BODY),
        (message(op=0x2167DA4B, comment=None), None),
        (replace(UNSUCCESSFUL, action_failed=True), Caution.ACTION_FAILED),
        (replace(UNSUCCESSFUL, credited=5), Caution.CREDIT_DIFFERS),
        (replace(PAYMENT, credited=None), None),
    ],
)
def test_what_arrived_oddly_is_marked_for_a_person(transaction, caution):
    transfer = transfer_of(transaction, OURS_ON_TON)
    assert (transfer.units, transfer.asset, transfer.caution) == (10**9, Asset.TON, caution)
    assert transfer.event_index == 0
