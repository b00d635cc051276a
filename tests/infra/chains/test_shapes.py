"""The stand-in speaks the fields that the real services were seen to send; names and kinds, values our own."""

import pytest

from infra.lab.chains.made import account
from infra.lab.chains.ton_world import Receipt
from models.payment import Provider
from models.payment_address import Chain
from tests.fakes.chains.examples import OURS, OURS_ON_TON

WORD, COUNT, YES = str, int, bool

FEED_ROW = {
    "transaction_id": WORD, "status": COUNT, "block_ts": COUNT, "from_address": WORD, "to_address": WORD,
    "block": COUNT, "contract_address": WORD, "quant": WORD, "approval_amount": WORD, "event_type": WORD,
    "confirmed": YES, "contractRet": WORD, "finalResult": WORD, "tokenInfo": dict, "revert": YES, "contract_type": WORD,
    "riskTransaction": YES,
}  # fmt: skip
TOKEN = {"tokenId": WORD, "tokenAbbr": WORD, "tokenName": WORD, "tokenDecimal": COUNT, "tokenType": WORD, "vip": YES}
DETAILS = {
    "contractRet": WORD, "contractType": COUNT, "event_count": COUNT, "toAddress": WORD, "confirmed": YES,
    "trc20TransferInfo": list, "transfersAllList": list, "block": COUNT, "timestamp": COUNT, "revert": YES,
    "confirmations": COUNT, "ownerAddress": WORD, "hash": WORD, "tokenTransferInfo": dict,
}  # fmt: skip
EVENT = {"event_index": COUNT, "event_name": WORD, "contract_address": WORD, "result": dict, "transaction_id": WORD}
GRID_ROW = {
    "transaction_id": WORD, "token_info": dict, "block_timestamp": COUNT, "from": WORD, "to": WORD, "type": WORD,
    "value": WORD,
}  # fmt: skip
RECEIPT = {
    "id": WORD, "fee": COUNT, "blockNumber": COUNT, "blockTimeStamp": COUNT, "contractResult": list,
    "contract_address": WORD, "receipt": dict, "log": list,
}  # fmt: skip
LOG = {"address": WORD, "topics": list, "data": WORD}
TONAPI = {
    "hash": WORD, "lt": COUNT, "account": dict, "success": YES, "utime": COUNT, "orig_status": WORD, "end_status": WORD,
    "total_fees": COUNT, "end_balance": COUNT, "transaction_type": WORD, "state_update_old": WORD,
    "state_update_new": WORD, "in_msg": dict, "out_msgs": list, "block": WORD, "prev_trans_hash": WORD,
    "prev_trans_lt": COUNT, "compute_phase": dict, "storage_phase": dict, "credit_phase": dict, "action_phase": dict,
    "aborted": YES, "destroyed": YES, "raw": WORD,
}  # fmt: skip
TONAPI_MESSAGE = {
    "msg_type": WORD, "created_lt": COUNT, "ihr_disabled": YES, "bounce": YES, "bounced": YES, "value": COUNT,
    "fwd_fee": COUNT, "ihr_fee": COUNT, "destination": dict, "source": dict, "import_fee": COUNT, "created_at": COUNT,
    "op_code": WORD, "hash": WORD, "raw_body": WORD, "decoded_op_name": WORD, "decoded_body": dict,
}  # fmt: skip
TONCENTER = {
    "account": WORD, "hash": WORD, "lt": WORD, "now": COUNT, "mc_block_seqno": COUNT, "trace_id": WORD,
    "prev_trans_hash": WORD, "prev_trans_lt": WORD, "orig_status": WORD, "end_status": WORD, "total_fees": WORD,
    "description": dict, "block_ref": dict, "in_msg": dict, "out_msgs": list, "emulated": YES,
}  # fmt: skip
TONCENTER_MESSAGE = {
    "hash": WORD, "source": WORD, "destination": WORD, "value": WORD, "created_lt": WORD, "opcode": WORD, "bounce": YES,
    "bounced": YES, "message_content": dict,
}  # fmt: skip


def assert_shape(told, shape):
    assert {name: type(told[name]) for name in shape} == shape


@pytest.fixture
def paid(chains):
    tron, ton = chains.stand_in.tron, chains.stand_in.ton
    ton.pay(OURS_ON_TON, 1, Receipt())
    hashes = tron.pay(OURS, 5_000_000).hex(), ton.pay(OURS_ON_TON, 5, Receipt(comment="hello")).hex()
    tron.solidify()
    return hashes


async def test_tronscan(chains, paid):
    door = chains.providers[Provider.TRONSCAN]._door
    row = (await door.get("/api/token_trc20/transfers", relatedAddress=str(OURS)))["token_transfers"][0]
    assert_shape(row, FEED_ROW)
    assert_shape(row["tokenInfo"], TOKEN)
    assert_shape(await door.get("/api/transaction-info", hash=paid[0]), DETAILS)
    events = await door.post("/api/contracts/smart-contract-triggers-batch", {"hashList": [paid[0]]})
    assert_shape(events["event_list"][0], EVENT)
    assert await door.get("/api/transaction-info", hash="0" * 64) == {}


async def test_trongrid(chains, paid):
    door = chains.providers[Provider.TRONGRID]._door
    rows = await door.get(f"/v1/accounts/{OURS}/transactions/trc20")
    assert_shape(rows["data"][0], GRID_ROW)
    assert rows["success"] is True
    receipt = await door.post("/walletsolidity/gettransactioninfobyid", {"value": paid[0]})
    assert_shape(receipt, RECEIPT)
    assert_shape(receipt["log"][0], LOG)
    assert not receipt["log"][0]["address"].startswith("41a614")


async def test_tonapi(chains, paid):
    door = chains.providers[Provider.TONAPI]._door
    told = await door.get(f"/v2/blockchain/accounts/{OURS_ON_TON.raw_text}/transactions")
    assert_shape(told["transactions"][0], TONAPI)
    assert_shape(told["transactions"][0]["in_msg"], TONAPI_MESSAGE)
    assert await door.find(f"/v2/blockchain/transactions/{'0' * 64}") is None
    assert await door.get(f"/v2/blockchain/transactions/{paid[1]}") == told["transactions"][0]


async def test_toncenter(chains, paid):
    door = chains.providers[Provider.TONCENTER]._door
    told = await door.get("/api/v3/transactions", account=OURS_ON_TON.raw_text)
    assert_shape(told["transactions"][0], TONCENTER)
    assert_shape(told["transactions"][0]["in_msg"], TONCENTER_MESSAGE)
    assert told["transactions"][0]["account"] == OURS_ON_TON.raw_text.upper()
    nobody = account(Chain.TON, "nobody").raw_text
    assert (await door.get("/api/v3/transactions", account=nobody))["transactions"] == []
