"""What the payments bench makes of what it saw."""

import pytest

from models.payment_address import Chain
from tests.bench.payments import credit_rows, scan_rows, verify_rows
from tests.bench.payments_gateway import Answers, spread
from tests.bench.payments_world import Scanned, kind_of


def answers(*heard):
    kept = Answers()
    for status, wait_s in heard:
        kept.note(status, wait_s)
    return kept


def by_metric(rows):
    return {row.metric: row for row in rows}


def scanned(**facts):
    calls = {"discovery": 30, "head": 4, "proof": 40}
    seen = Scanned(seconds=40.0, payments=120, proofs=120, waits_s=[60.0] * 120, ticks_s=[0.1, 0.2], naive_calls=3000)
    seen.calls.update(calls)
    for name, value in facts.items():
        setattr(seen, name, value)
    return by_metric(scan_rows(Chain.TRON, seen, orders=3000))


def test_answers_are_judged_by_the_slowest_hundredth_and_under_hanging_providers_by_the_slowest():
    rows = by_metric(verify_rows(answers(*[(200, 0.1)] * 98, (202, 0.2), (200, 0.4)), answers((503, 4.6)), rate=20))
    assert rows["verify_ms_p50"].value == 100
    assert rows["verify_ms_p99"].value == 400
    assert (rows["verify_hang_ms_max"].value, rows["verify_hang_ms_max"].is_met) == (4600, False)


@pytest.mark.parametrize("status", [0, 500, 429])
def test_a_question_without_a_proper_answer_meets_no_goal(status):
    rows = by_metric(verify_rows(answers((200, 0.1), (status, 0.1)), answers((200, 0.1), (status, 0.1)), rate=20))
    assert rows["verify_ms_p99"].value is None
    assert not rows["verify_hang_ms_max"].is_met


def test_calls_are_told_a_second_and_a_transfer_beside_the_naive_pollers():
    rows = scanned()
    assert rows["discovery_calls_per_s"].value == pytest.approx(0.85)
    assert rows["proof_calls_per_transfer"].value == 1
    assert rows["provider_calls_per_s"].value == pytest.approx(1.85)
    assert rows["provider_calls_per_s"].peers == {"naive": 100}
    assert all(rows[name].is_met for name in ("discovery_calls_per_s", "provider_calls_per_s"))


def test_a_payment_that_never_counted_leaves_no_time_to_credit():
    assert scanned()["block_to_credit_p95"].value == 60
    assert scanned(waits_s=[60.0] * 119)["block_to_credit_p95"].value is None


def test_credits_are_told_a_second():
    booking, ticks = credit_rows(2000, booked_s=1.0, whole_s=4.0)
    assert (booking.value, booking.is_met, ticks.value, ticks.is_met) == (2000, True, 500, None)


def test_the_quantile_is_an_answer_that_was_given():
    assert spread([0.1, 0.2, 0.3], 0.5) == 0.2
    assert spread([0.1, 0.2, 0.3], 1) == 0.3


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/api/token_trc20/transfers?limit=50", "discovery"),
        ("/v1/accounts/T1/transactions/trc20", "discovery"),
        ("/v2/blockchain/accounts/0:1/transactions?limit=9", "discovery"),
        ("/v2/jettons/0:1/accounts/0:2/history", "discovery"),
        ("/api/block?limit=1", "head"),
        ("/walletsolidity/getnowblock", "head"),
        ("/v2/blockchain/masterchain-head", "head"),
        ("/api/v3/masterchainInfo", "head"),
        ("/walletsolidity/gettransactioninfobyid", "proof"),
        ("/v2/blockchain/transactions/ab", "proof"),
        ("/api/v3/traces?tx_hash=ab", "proof"),
    ],
)
def test_every_call_is_of_one_kind(path, kind):
    assert kind_of(path) == kind
