"""Every metric of the control side: names, units and labels, written once.

Labels are bounded: routes are templates, nodes are the declared ones, roles are the long runs. No label ever names a
pair of nodes, an incident or a caller. What the store knows is computed at each scrape, so that a replica or a restart
of the gateway never disagrees with the database; what only the gateway sees is counted in its own registry.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from importlib import metadata

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from models.incident import Incident, IncidentState, OutcomeKind
from models.ledger import LedgerCounts, MessageKind
from models.mesh import Mesh, NodeId
from models.payment import OrderState
from models.payment_address import Chain
from models.payment_matching import Unmatched
from models.ports import LongRun, UnitOfWork
from models.remedy import ActionState
from models.telemetry import Sample

BUILD = "x0tta6bl4_build"
STORE_UP = "x0tta6bl4_store_up"
INCIDENTS_OPEN = "x0tta6bl4_incidents_open"
OUTCOMES = "x0tta6bl4_outcomes_total"
OPERATIONS = "x0tta6bl4_operations"
STANDING_COST_OUTS = "x0tta6bl4_standing_cost_outs"
PAUSED = "x0tta6bl4_healing_paused"
NODES_DECLARED = "x0tta6bl4_nodes_declared"
NODE_SAMPLE_AGE = "x0tta6bl4_node_sample_age_seconds"
LONG_RUN_BEAT_AGE = "x0tta6bl4_long_run_beat_age_seconds"
LONG_RUN_EPOCH = "x0tta6bl4_long_run_epoch"
ORDERS = "x0tta6bl4_orders"
UNMATCHED = "x0tta6bl4_transfers_unmatched"
PAYMENT_CASES = "x0tta6bl4_payment_cases"
UNDELIVERED = "x0tta6bl4_outbox_waiting"
ERRORS = "x0tta6bl4_gateway_errors_total"
ANALYSIS_DRIFT = "x0tta6bl4_analysis_input_drift_ratio"
REQUESTS = "http_requests_total"
REQUEST_DURATION = "http_request_duration_seconds"

OPEN_STATES = tuple(one for one in IncidentState if one is not IncidentState.CLOSED)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# The verify budget is 300 ms at p99 and 4.5 s at worst; a page of incidents is a few milliseconds.
DURATION_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 4.5, 10.0)


@dataclass(frozen=True, slots=True)
class StoreSnapshot:
    """What the store knows at one scrape."""

    mesh: Mesh | None
    latest: Mapping[NodeId, Sample] = field(default_factory=dict)
    open_incidents: tuple[Incident, ...] = ()
    outcomes: Mapping[OutcomeKind, int] = field(default_factory=dict)
    operations: Mapping[ActionState, int] = field(default_factory=dict)
    standing_cost_outs: int = 0
    paused: bool = False
    long_runs: tuple[LongRun, ...] = ()
    ledger: LedgerCounts = field(default_factory=LedgerCounts)


async def snapshot(unit: UnitOfWork, mesh: str) -> StoreSnapshot:
    """Read everything one scrape needs, in one transaction.

    Raises:
        SourceUnavailable: the database does not answer.
    """
    return StoreSnapshot(
        mesh=await unit.meshes.load(mesh),
        latest=await unit.samples.latest(mesh),
        open_incidents=tuple(await unit.incidents.open(mesh)),
        outcomes=await unit.incidents.outcome_counts(mesh),
        operations=await unit.actions.state_counts(mesh),
        standing_cost_outs=len(await unit.actions.standing(mesh)),
        long_runs=tuple(await unit.long_runs.all()),
        ledger=await unit.ledger.counts(),
        # Last: reading the guards' state locks it until the unit ends, and a heal may be waiting for it.
        paused=(await unit.guards.load(mesh)).paused,
    )


def families(seen: StoreSnapshot | None, *, now: datetime) -> list[Metric]:
    """Turn a snapshot into metric families; None (the store did not answer) leaves only that fact.

    A node that never reported has no age: an absent series, not a zero.
    """
    up = GaugeMetricFamily(STORE_UP, "Whether the database answered this scrape.", value=float(seen is not None))
    if seen is None:
        return [_build(), up]
    incidents = GaugeMetricFamily(INCIDENTS_OPEN, "Incidents not closed, by state.", labels=["state"])
    for state in OPEN_STATES:
        incidents.add_metric([state.value], sum(one.state is state for one in seen.open_incidents))
    outcomes = CounterMetricFamily(OUTCOMES, "Turns of the healing cycle, by how they ended.", labels=["kind"])
    for kind in OutcomeKind:
        outcomes.add_metric([kind.value], seen.outcomes.get(kind, 0))
    operations = GaugeMetricFamily(OPERATIONS, "Operations by the state they are in now.", labels=["state"])
    for action_state in ActionState:
        operations.add_metric([action_state.value], seen.operations.get(action_state, 0))
    declared = seen.mesh.nodes if seen.mesh else ()
    samples = GaugeMetricFamily(NODE_SAMPLE_AGE, "Age of each node's newest sample.", labels=["node"])
    for node in declared:
        if node.id in seen.latest:
            samples.add_metric([node.id], _age_seconds(seen.latest[node.id].at, now))
    beats = GaugeMetricFamily(LONG_RUN_BEAT_AGE, "Age of each long run's newest beat.", labels=["role"])
    epochs = GaugeMetricFamily(LONG_RUN_EPOCH, "Epoch of each long run; it grows with every takeover.", labels=["role"])
    for run in seen.long_runs:
        beats.add_metric([run.role], _age_seconds(run.beat_at, now))
        epochs.add_metric([run.role], run.epoch)
    cost_outs = "Committed cost changes that still stand, one for each end."
    return [
        _build(),
        up,
        incidents,
        outcomes,
        operations,
        GaugeMetricFamily(STANDING_COST_OUTS, cost_outs, value=seen.standing_cost_outs),
        GaugeMetricFamily(PAUSED, "Whether the operator's pause switch is on.", value=float(seen.paused)),
        GaugeMetricFamily(NODES_DECLARED, "Nodes the mesh declares.", value=len(declared)),
        samples,
        beats,
        epochs,
        *_money(seen.ledger),
    ]


def _money(counts: LedgerCounts) -> list[Metric]:
    """Return the ledger's figures; every state, reason, chain and kind has its series, also at zero."""
    return [
        _counted(ORDERS, "Orders, by state; hold and review wait for a person.", "state", OrderState, counts.orders),
        _counted(
            UNMATCHED, "Final transfers that are no order's, by reason; all but dust wait for a person.", "reason",
            Unmatched, counts.unmatched,
        ),
        _counted(PAYMENT_CASES, "Transactions that are not done with.", "chain", Chain, counts.cases),
        _counted(UNDELIVERED, "Messages that wait to be told.", "kind", MessageKind, counts.undelivered),
    ]  # fmt: skip


def _counted(name: str, about: str, label: str, known: type[StrEnum], counts: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(name, about, labels=[label])
    for one in known:
        family.add_metric([one.value.lower()], counts.get(one.value, 0))
    return family


class GatewayMetrics:
    """What only the gateway sees: its requests and its errors. One registry an app, so that two apps never mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(REQUESTS, "Requests answered.", ["method", "route", "status"], registry=self.registry)
        self._durations = Histogram(
            REQUEST_DURATION,
            "Time from a request's first byte to its answer's last.",
            ["method", "route"],
            buckets=DURATION_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self._errors = Counter(
            ERRORS, "Errors answered, by branch of the error tree; alert on broken.", ["branch"], registry=self.registry
        )

        self._drift = Gauge(
            ANALYSIS_DRIFT,
            "Share of the newest analysis' inputs unlike what its engine was fitted on; NaN until there is one.",
            registry=self.registry,
        )
        self._drift.set(float("nan"))

    def analysed(self, drift: float | None) -> None:
        """Keep how far the newest analysis was from its engine's training; None: the engine cannot tell."""
        if drift is not None:
            self._drift.set(drift)

    def request_answered(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Count and time one request; a made-up method counts as OTHER, so that labels stay bounded."""
        known = method if method in METHODS else "OTHER"
        self._requests.labels(known, route, str(status)).inc()
        self._durations.labels(known, route).observe(seconds)

    def error_met(self, branch: str) -> None:
        """Count one error by its branch."""
        self._errors.labels(branch).inc()

    def expose(self, seen: StoreSnapshot | None, *, now: datetime) -> bytes:
        """Write everything in Prometheus' text format."""
        from_store = CollectorRegistry()
        from_store.register(_Once(families(seen, now=now)))
        return generate_latest(from_store) + generate_latest(self.registry)


class _Once(Collector):
    """Families that were computed before the scrape, since the store is async and a collector is not."""

    def __init__(self, ready: Iterable[Metric]) -> None:
        self._ready = list(ready)

    def collect(self) -> Iterable[Metric]:
        return self._ready


def version() -> str:
    """Return the installed version of this system."""
    return metadata.version("x0tta6bl4")


def _build() -> Metric:
    facts = {"version": version(), "python": platform.python_version()}
    return InfoMetricFamily(BUILD, "What is running.", value=facts)


def _age_seconds(at: datetime, now: datetime) -> float:
    # Clocks of two hosts differ a little; an age below zero would only confuse an alert.
    return max(0.0, (now - at).total_seconds())
