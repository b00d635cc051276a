"""What a scanning process tells of itself."""

from __future__ import annotations

from datetime import timedelta

import pytest
from prometheus_client import generate_latest

from infra.metrics_payments import ScanMetrics
from models.errors import ChainAnswerInvalid, ChainBusy, ChainUnavailable, ProviderKeyRefused
from models.payment import Asset, Provider
from models.payment_address import Chain
from models.payment_rules import Ruling


def exposed(metrics: ScanMetrics) -> str:
    return generate_latest(metrics.registry).decode()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ChainUnavailable("tonapi"), 'x0tta6bl4_provider_errors_total{kind="unavailable",provider="tonapi"} 1.0'),
        (ChainAnswerInvalid("tonapi"), 'x0tta6bl4_provider_errors_total{kind="invalid",provider="tonapi"} 1.0'),
        (
            ProviderKeyRefused("tonapi", "TON_API_KEY"),
            'x0tta6bl4_provider_errors_total{kind="key_refused",provider="tonapi"} 1.0',
        ),
        (ChainBusy("tonapi", "busy", wait_s=3), 'x0tta6bl4_provider_rate_limited_total{provider="tonapi"} 1.0'),
    ],
)
def test_each_kind_of_trouble_is_counted_and_passed_on(error: Exception, line: str):
    metrics = ScanMetrics()
    with pytest.raises(type(error)), metrics.asking(Provider.TONAPI, "discover"):
        raise error
    assert line in exposed(metrics)
    assert "_duration_seconds_count" not in exposed(metrics)


def test_answers_credits_lag_and_remarks_have_their_figures():
    metrics = ScanMetrics()
    with metrics.asking(Provider.TONAPI, "prove"):
        pass
    metrics.credited(Asset.TON, timedelta(seconds=4))
    metrics.credited(Asset.TON, timedelta(seconds=-1))
    metrics.lagging(Chain.TON, timedelta(seconds=2))
    metrics.remarked(Provider.TONAPI, {Ruling.BOUNCED: 3})
    metrics.disputed(1)
    told = exposed(metrics)
    for line in (
        'x0tta6bl4_provider_request_duration_seconds_count{call="prove",provider="tonapi"} 1.0',
        'x0tta6bl4_transfers_credited_total{asset="TON"} 2.0',
        'x0tta6bl4_block_to_credit_seconds_bucket{asset="TON",le="2.0"} 1.0',
        'x0tta6bl4_block_to_credit_seconds_bucket{asset="TON",le="5.0"} 2.0',
        'x0tta6bl4_scan_lag_seconds{chain="ton"} 2.0',
        'x0tta6bl4_provider_remarks_total{provider="tonapi",ruling="bounced"} 3.0',
        "x0tta6bl4_payment_disputes_total 1.0",
    ):
        assert line in told
