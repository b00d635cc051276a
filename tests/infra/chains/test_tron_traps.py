"""What TRON's APIs do that has cost others money, one test each."""

from datetime import timedelta

import pytest

from infra.lab.chains.made import account, made_hash
from infra.lab.chains.tron_world import Move
from models.errors import ChainAnswerInvalid
from models.payment import Asset, Provider
from models.payment_address import Chain
from models.payment_ports import CompletePage, IncompletePage
from models.payment_quorum import TxState, weigh
from models.payment_rules import Ruling
from tests.contracts.chains import HOUR, discovered, units
from tests.fakes.chains.examples import OURS

SCAN, GRID = Provider.TRONSCAN, Provider.TRONGRID


@pytest.fixture(params=[SCAN, GRID])
def side(request, chains):
    return chains.side(request.param)


@pytest.fixture
def scan(chains):
    return chains.side(SCAN)


@pytest.fixture
def grid(chains):
    return chains.side(GRID)


@pytest.fixture
def tron(chains):
    return chains.stand_in.tron


def row_lie(**facts):
    def lie(path, body):
        for row in body.get("token_transfers", []) + body.get("data", []):
            if isinstance(row, dict):
                row.update(facts)
        return body

    return lie


async def test_two_identical_transfers_in_one_call_are_two_in_feed_and_proof(side, tron):
    tx = tron.call([tron.move(OURS, 5_000_000), tron.move(OURS, 5_000_000)])
    tron.solidify()
    assert units(await discovered(side)) == [5_000_000, 5_000_000]
    proof = await side.asked.prove(tx, address=OURS)
    assert [(one.event_index, one.units) for one in proof.transfers] == [(0, 5_000_000), (1, 5_000_000)]


async def test_a_relayed_payment_counts_what_we_got_and_not_the_relayers_fee(side, tron):
    fee = tron.move(account(Chain.TRON, "relayer"), 1_500_000)
    tx = tron.call([fee, tron.move(OURS, 748_500_000)], called=account(Chain.TRON, "gasfree"))
    tron.solidify()
    assert units(await discovered(side)) == [748_500_000]
    (transfer,) = (await side.asked.prove(tx, address=OURS)).transfers
    assert (transfer.event_index, transfer.units) == (1, 748_500_000)


@pytest.mark.parametrize("decimals", [6, 18])
async def test_fake_usdt_is_not_ours_by_any_decimals(side, tron, decimals):
    fake = Move(account(Chain.TRON, "fake"), account(Chain.TRON, "payer"), OURS, 15 * 10**20)
    tx = tron.call([fake], called=fake.contract, decimals=decimals)
    tron.solidify()
    assert (await discovered(side)).sightings == ()
    assert (await side.asked.prove(tx, address=OURS)).transfers == ()


async def test_rows_nobody_asked_for_are_told_apart_and_counted(scan, tron):
    fake = Move(account(Chain.TRON, "fake"), account(Chain.TRON, "payer"), OURS, 7)
    tron.call([fake], called=fake.contract)
    tron.call([Move(account(Chain.TRON, "usdd"), account(Chain.TRON, "payer"), OURS, 7)], symbol="USDD")
    tron.solidify()
    extra = await scan_rows(scan, tron)

    def lie(path, body):
        if "token_transfers" in body:
            body["token_transfers"] += [
                *extra,
                {"contract_address": "_", "block_ts": 1_790_000_000_000, "tokenInfo": 7},
            ]
        return body

    scan.faults.lie = lie
    page = await discovered(scan)
    assert page.remarks == {Ruling.FAKE_TOKEN: 1, Ruling.OTHER_TOKEN: 2}


async def scan_rows(scan, tron):
    answer = await scan.asked._door.get("/api/token_trc20/transfers", relatedAddress=str(OURS))
    return answer["token_transfers"]


@pytest.mark.parametrize(
    "lie",
    [
        row_lie(
            tokenInfo={"tokenDecimal": 18}, token_info={"address": "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t", "decimals": 18}
        ),
        row_lie(quant="1e9", value="1e9"),
        row_lie(transaction_id="no hash"),
    ],
)
async def test_a_row_that_breaks_the_contract_is_drift_and_the_page_incomplete(side, tron, lie):
    tron.pay(OURS, 5_000_000)
    tron.solidify()
    side.faults.lie = lie
    page = await side.asked.discover(OURS, since=side.now() - HOUR)
    assert isinstance(page, IncompletePage)
    assert page.remarks == {Ruling.DRIFT: 1}
    assert page.sightings == ()


async def test_a_result_word_that_tron_does_not_know_credits_nothing_and_is_drift(scan, grid, tron):
    tx = tron.pay(OURS, 5_000_000)
    tron.solidify()
    tron.calls[tx].result = "SUCCESSFUL"
    for one in (scan, grid):
        proof = await one.asked.prove(tx, address=OURS)
        assert (proof.state, proof.transfers, proof.remarks) == (TxState.PENDING, (), {Ruling.DRIFT: 1})
    tron.calls[tx].result = "SUCCESS"
    scan.faults.lie = row_lie(contractRet="SUCCESSFUL")
    assert isinstance(await scan.asked.discover(OURS, since=tron.now() - HOUR), IncompletePage)


async def test_a_failed_call_that_lists_its_attempt_is_failed(side, tron):
    for result in ("OUT_OF_ENERGY", "REVERT", "OUT_OF_TIME", "TRANSFER_FAILED"):
        tx = tron.pay(OURS, 50_000_000_000, result=result)
        tron.solidify()
        proof = await side.asked.prove(tx, address=OURS)
        assert (proof.state, proof.transfers) == (TxState.FAILED, ())


async def test_a_revert_told_while_indexing_is_not_believed_until_solid(side, tron):
    tx = tron.pay(OURS, 5_000_000, result="REVERT")
    assert (await side.asked.prove(tx, address=OURS)).state is TxState.PENDING
    tron.calls[tx].result = "SUCCESS"
    tron.solidify()
    assert (await side.asked.prove(tx, address=OURS)).state is TxState.FINAL


async def test_a_contract_call_without_a_result_waits_and_a_plain_trx_transfer_does_not(grid, tron):
    tx = tron.pay(OURS, 5_000_000)
    tron.solidify()

    def unsaid(_, body):
        body.get("receipt", {}).pop("result", None)
        return body

    grid.faults.lie = unsaid
    proof = await grid.asked.prove(tx, address=OURS)
    assert (proof.state, proof.remarks) == (TxState.PENDING, {Ruling.DRIFT: 1})

    def plain(_, body):
        return {"id": body["id"], "blockNumber": 1, "blockTimeStamp": 1_790_000_000_000, "receipt": {"net_usage": 265}}

    grid.faults.lie = plain
    proof = await grid.asked.prove(tx, address=OURS)
    assert (proof.state, proof.transfers) == (TxState.FINAL, ())


async def test_a_block_mined_anew_gives_the_final_blocks_time(chains, tron):
    tx = tron.pay(OURS, 5_000_000)
    seen = (await discovered(chains.side(SCAN))).sightings
    tron.mine_again(tx)
    tron.solidify()
    final = [*(await discovered(chains.side(SCAN))).sightings]
    for provider in (SCAN, GRID):
        final += (await chains.side(provider).asked.prove(tx, address=OURS)).sightings
    (transfer,) = weigh([*seen, *final])
    assert (transfer.final, transfer.position) == (True, tron.calls[tx].height)
    assert transfer.block_time == tron.time_of(tron.calls[tx].height)


async def test_an_invented_payment_is_never_vouched_for_by_the_other(chains, scan, tron):
    tx = tron.pay(OURS, 90_000_000)
    tron.solidify()
    lied = [*(await discovered(scan)).sightings, *(await scan.asked.prove(tx, address=OURS)).sightings]
    tron.vanish(tx)
    honest = (await chains.side(GRID).asked.prove(tx, address=OURS)).sightings
    (transfer,) = weigh([*lied, *honest])
    assert transfer.vouched_by == {SCAN}


async def test_providers_that_contradict_each_other_make_a_dispute(chains, scan, tron):
    tx = tron.pay(OURS, 5_000_000)
    tron.solidify()
    told = (await discovered(scan)).sightings
    tron.calls[tx].result = "OUT_OF_ENERGY"
    (transfer,) = weigh([*told, *(await chains.side(GRID).asked.prove(tx, address=OURS)).sightings])
    assert transfer.disputed


async def test_events_that_lag_behind_are_not_taken_for_no_payment(scan, tron):
    tx = tron.pay(OURS, 5_000_000)
    tron.solidify()
    scan.faults.lie = lambda path, body: {"event_list": [], "list": []} if "batch" in path else body
    proof = await scan.asked.prove(tx, address=OURS)
    assert (proof.state, proof.remarks) == (TxState.PENDING, {Ruling.DRIFT: 1})
    assert [one.event_index for one in proof.transfers] == [None]


async def test_an_answer_for_another_hash_is_refused(side, tron):
    tron.pay(OURS, 5_000_000)
    other = tron.pay(OURS, 6_000_000)
    tron.solidify()
    side.faults.lie = lambda _, body: body | {name: made_hash("other").hex() for name in ("hash", "id") if name in body}
    with pytest.raises(ChainAnswerInvalid, match="another transaction"):
        await side.asked.prove(other, address=OURS)


async def test_a_dust_flood_in_one_second_is_read_by_offset_and_never_beyond_the_bound(scan, tron):
    tron.pay(OURS, 1_000_000)
    for number in range(170):
        tron.call([tron.move(OURS, 2_000_000 + number)], same_block=True)
    tron.pay(OURS, 3_000_000)
    tron.solidify()
    assert len(units(await discovered(scan))) == 172
    offsets = [int(path.split("start=")[1].split("&")[0]) for path in scan.faults.calls]
    assert max(offsets) < 10_000
    assert any(offset > 0 for offset in offsets)


async def test_a_page_cap_that_was_lowered_silently_loses_nothing(scan, tron):
    for number in range(60):
        tron.pay(OURS, 1_000_000 + number)
    tron.solidify()
    scan.faults.page_rows = 20
    assert len(units(await discovered(scan))) == 60


async def test_pages_that_repeat_for_ever_end_as_incomplete(grid, tron):
    for number in range(3):
        tron.pay(OURS, 1_000_000 + number)
    tron.solidify()
    grid.faults.lie = lambda _, body: body | {"meta": {"fingerprint": "0"}}
    page = await grid.asked.discover(OURS, since=tron.now() - HOUR)
    assert isinstance(page, IncompletePage)
    assert "same" in page.reason


async def test_fingerprint_pages_keep_their_filters_and_links_are_not_followed(grid, tron):
    for number in range(5):
        tron.pay(OURS, 1_000_000 + number)
    tron.solidify()
    grid.faults.page_rows = 2
    assert len(units(await discovered(grid))) == 5
    filters = {path.split("&fingerprint")[0] for path in grid.faults.calls}
    assert len(grid.faults.calls) == 3
    assert len(filters) == 1
    assert "only_confirmed=true" in filters.pop()


async def test_rows_without_their_optional_fields_are_read(scan, tron):
    tron.pay(OURS, 5_000_000)
    tron.solidify()

    def old(path, body):
        for row in body.get("token_transfers", []):
            for name in ("status", "finalResult", "contract_type", "tokenInfo", "revert", "riskTransaction"):
                del row[name]
            row["from_the_future"] = {"unknown": True}
        return body

    scan.faults.lie = old
    page = await discovered(scan)
    assert isinstance(page, CompletePage)
    assert [one.state for one in page.sightings] == [TxState.FINAL]


async def test_an_old_details_answer_is_matched_with_its_events_alone(scan, tron):
    tx = tron.pay(OURS, 5_000_000)
    tron.solidify()
    scan.faults.lie = lambda _, body: {name: told for name, told in body.items() if name != "transfersAllList"}
    (transfer,) = (await scan.asked.prove(tx, address=OURS)).transfers
    assert (transfer.event_index, transfer.asset) == (0, Asset.USDT_TRON)


async def test_a_usual_tick_is_one_call(scan, tron):
    for number in range(5):
        tron.pay(OURS, 1_000_000 + number)
    await scan.asked.discover(OURS, since=tron.now() - timedelta(minutes=3))
    assert len(scan.faults.calls) == 1
