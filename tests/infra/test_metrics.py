"""Metrics: names, units, bounded labels, and what a scrape says of a store."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from infra.metrics import GatewayMetrics, StoreSnapshot
from models.incident import Incident, IncidentId, IncidentState, OutcomeKind
from models.ledger import LedgerCounts
from models.mesh import Mesh, Node, NodeId
from models.ports import LongRun
from models.remedy import ActionState
from models.telemetry import Sample
from tests.infra.deploy.tools import tool

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MESH = Mesh("lab", (Node(NodeId("n0"), "10.42.0.1"), Node(NodeId("n1"), "10.42.0.2")), ())
SEEN = StoreSnapshot(
    mesh=MESH,
    latest={
        NodeId("n0"): Sample(NodeId("n0"), 1, 0, NOW - timedelta(seconds=3)),
        NodeId("gone"): Sample(NodeId("gone"), 1, 0, NOW),
    },
    open_incidents=(Incident(IncidentId("i-1"), "lab", IncidentState.ESCALATED, NOW, ()),),
    outcomes={OutcomeKind.FIXED: 7},
    operations={ActionState.COMMITTED: 4},
    standing_cost_outs=2,
    paused=True,
    long_runs=(LongRun("watch-mesh:lab", 3, "f", 1, "h", NOW - timedelta(seconds=1)),),
    ledger=LedgerCounts({"HOLD": 2}, {"no_order": 3}, {"tron": 4}, {"licence": 5}),
)


def exposed(seen: StoreSnapshot | None, metrics: GatewayMetrics | None = None) -> str:
    return (metrics or GatewayMetrics()).expose(seen, now=NOW).decode()


def busy() -> GatewayMetrics:
    metrics = GatewayMetrics()
    metrics.request_answered(method="GET", route="/api/v1/mesh", status=200, seconds=0.02)
    metrics.error_met("broken")
    return metrics


@pytest.mark.parametrize(
    "line",
    [
        "x0tta6bl4_store_up 1.0",
        'x0tta6bl4_incidents_open{state="escalated"} 1.0',
        'x0tta6bl4_incidents_open{state="open"} 0.0',
        'x0tta6bl4_outcomes_total{kind="fixed"} 7.0',
        'x0tta6bl4_outcomes_total{kind="no-effect"} 0.0',
        'x0tta6bl4_operations{state="committed"} 4.0',
        "x0tta6bl4_standing_cost_outs 2.0",
        "x0tta6bl4_healing_paused 1.0",
        "x0tta6bl4_nodes_declared 2.0",
        'x0tta6bl4_orders{state="hold"} 2.0',
        'x0tta6bl4_orders{state="settled"} 0.0',
        'x0tta6bl4_transfers_unmatched{reason="no_order"} 3.0',
        'x0tta6bl4_payment_cases{chain="tron"} 4.0',
        'x0tta6bl4_outbox_waiting{kind="licence"} 5.0',
        'x0tta6bl4_node_sample_age_seconds{node="n0"} 3.0',
        'x0tta6bl4_long_run_beat_age_seconds{role="watch-mesh:lab"} 1.0',
        'x0tta6bl4_long_run_epoch{role="watch-mesh:lab"} 3.0',
    ],
)
def test_a_scrape_says_what_the_store_knows(line):
    assert line in exposed(SEEN).splitlines()


def test_a_node_that_never_reported_has_no_age_and_an_undeclared_one_no_label():
    assert re.findall(r'sample_age_seconds\{node="(\w+)"\}', exposed(SEEN)) == ["n0"]


def test_an_age_is_never_below_zero():
    early = replace(SEEN, latest={NodeId("n0"): Sample(NodeId("n0"), 1, 0, NOW + timedelta(seconds=1))})
    assert 'x0tta6bl4_node_sample_age_seconds{node="n0"} 0.0' in exposed(early)


def test_without_a_store_a_scrape_says_so_and_claims_nothing_else():
    text = exposed(None, busy())
    assert "x0tta6bl4_store_up 0.0" in text
    assert "incidents_open" not in text
    assert 'http_requests_total{method="GET",route="/api/v1/mesh",status="200"} 1.0' in text


def test_a_made_up_method_does_not_make_a_label():
    metrics = GatewayMetrics()
    for method in ("BREW", "WHEN"):
        metrics.request_answered(method=method, route="unmatched", status=405, seconds=0)
    text = exposed(None, metrics)
    assert 'http_requests_total{method="OTHER",route="unmatched",status="405"} 2.0' in text
    assert "BREW" not in text


def test_counters_end_in_total_ages_in_seconds_and_no_label_is_unbounded():
    allowed = {
        "state",
        "kind",
        "node",
        "role",
        "method",
        "route",
        "status",
        "branch",
        "le",
        "version",
        "python",
        "reason",
        "chain",
    }
    for family in text_string_to_metric_families(exposed(SEEN, busy())):
        for sample in family.samples:
            assert set(sample.labels) <= allowed
        if family.type == "counter":
            assert all(one.name.endswith("_total") for one in family.samples)
        if "age" in family.name or "duration" in family.name:
            assert "_seconds" in family.name


def test_promtool_finds_nothing_to_mend():
    command = [tool("promtool"), "check", "metrics"]
    done = subprocess.run(command, check=False, input=exposed(SEEN, busy()), capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
