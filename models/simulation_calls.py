"""Simulated incidents on a random call graph (see models.simulation for what is declared)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from models.simulation import (
    Clean,
    Rng,
    Timing,
    delayed,
    gross_or_subtle,
    happens,
    how_many_roots,
    some,
    timing,
    wander,
)
from models.snapshot import FloatArray, IntArray, Kind, SignalKind, SignalSpec

SIGNALS: Final = (
    SignalSpec("latency", "ms", 1, SignalKind.LATENCY),
    SignalSpec("latency_p95", "ms", 1, SignalKind.LATENCY),
    SignalSpec("errors", "share", 1, SignalKind.ERRORS),
    SignalSpec("requests", "1/s", 0, SignalKind.RATE),
    SignalSpec("cpu", "share", 1, SignalKind.GAUGE),
    SignalSpec("memory", "By", 1, SignalKind.GAUGE),
    SignalSpec("threads", "1", 0, SignalKind.GAUGE),
)
LATENCY, P95, ERRORS, REQUESTS, CPU, MEMORY, THREADS = range(len(SIGNALS))
# What real incidents mostly are comes more often; those that hardly show in the harmed service itself come rarely.
FAULTS: Final = {
    "cpu": 0.18,
    "memory": 0.12,
    "delay": 0.25,
    "network_delay": 0.02,
    "errors": 0.16,
    "kill": 0.07,
    "variance": 0.05,
    "code": 0.15,
}


@dataclass(slots=True, eq=False)
class _Running:
    """Per row and service: what each does by itself, before calls add to it."""

    own_latency: FloatArray
    own_errors: FloatArray
    added_on_call: FloatArray
    wasted_cpu: FloatArray
    memory: FloatArray
    alive: FloatArray
    load: FloatArray


def call_incident(rng: Rng) -> Clean:
    """Draw a call graph, let it run, and harm it."""
    count = int(rng.integers(4, 41))
    edges = _calls(count, rng)
    when = timing(rng)
    running = _healthy(count, when.rows, rng)
    roots = tuple(int(one) for one in rng.choice(count, size=how_many_roots(rng), replace=False))
    fault = "none"
    for root in roots:
        fault = str(rng.choice(list(FAULTS), p=list(FAULTS.values())))
        _harm(running, root, fault, when, rng)
    if not roots and happens(rng, 0.5):
        fault = "load"
        running.load *= 1 + (gross_or_subtle(rng, 0.3, 2.0) * when.strength)[:, None]
    values = _shown(running, edges, rng)
    return Clean(
        elements=(Kind.SERVICE,) * count,
        edges=edges,
        signals=SIGNALS,
        values=values,
        split=when.split,
        roots=roots,
        fault=fault,
        target=_alarmed(values, edges, roots, when, rng),
    )


def _calls(count: int, rng: Rng) -> IntArray:
    """Return a random acyclic call graph: everything but the first is called, now and then by several."""
    edges: set[tuple[int, int]] = set()
    for callee in range(1, count):
        callers = rng.integers(0, callee, size=1 + int(happens(rng, 0.3)))
        # The front calls more than others do.
        edges.update((int(one) if happens(rng, 0.8) else 0, callee) for one in callers)
    return np.array(sorted(edges), dtype=np.int64).reshape(-1, 2)


def _healthy(count: int, rows: int, rng: Rng) -> _Running:
    shared = wander(rng, rows, 1, memory=0.9, sway=rng.uniform(0.02, 0.3))
    season = rng.uniform(0, 0.3) * np.sin(np.linspace(0, rng.uniform(0, 12), rows))[:, None]
    sway = wander(rng, rows, count, memory=0.6, sway=rng.uniform(0.01, 0.12))
    level = np.exp(rng.normal(2.0, 1.0, size=count))
    errors = np.where(some(rng, 0.3, count), rng.uniform(0, 0.02, size=count), 0.0)
    return _Running(
        own_latency=level * np.exp(sway),
        own_errors=np.clip(errors * np.exp(wander(rng, rows, count, memory=0.3, sway=0.5)), 0, 1),
        added_on_call=np.zeros((rows, count)),
        wasted_cpu=np.zeros((rows, count)),
        memory=np.exp(rng.normal(18, 1, size=count) + wander(rng, rows, count, memory=0.95, sway=0.03)),
        alive=np.ones((rows, count)),
        load=np.exp(shared + season),
    )


def _harm(running: _Running, root: int, fault: str, when: Timing, rng: Rng) -> None:
    """Change what one service does by itself; the rest follows from the calls."""
    acts, size = when.strength, gross_or_subtle(rng, 0.4, 15.0)
    if fault == "cpu":
        running.wasted_cpu[:, root] += acts * rng.uniform(0.3, 3.0)
        running.own_latency[:, root] *= 1 + acts * size * rng.uniform(0.0, 0.7)
    elif fault == "memory":
        running.memory[:, root] *= 1 + np.cumsum(acts) / max(acts.sum(), 1.0) * rng.uniform(0.2, 3.0)
        running.own_latency[:, root] *= 1 + acts * size * rng.uniform(0.0, 0.5)
    elif fault == "delay":
        running.own_latency[:, root] *= 1 + acts * size
    elif fault == "network_delay":
        # The time goes by between caller and callee: only callers measure it, and whoever calls the harmed one.
        running.added_on_call[:, root] += acts * size * running.own_latency[:, root].mean()
    elif fault == "errors":
        running.own_errors[:, root] = np.maximum(running.own_errors[:, root], acts * rng.uniform(0.03, 0.9))
    elif fault == "kill":
        running.alive[:, root] = np.minimum(running.alive[:, root], 1 - acts * rng.uniform(0.6, 1.0))
    elif fault == "variance":
        running.own_latency[:, root] *= np.exp(acts * rng.normal(0.0, min(size, 2.0), size=len(acts)))
    else:
        running.own_errors[:, root] = np.maximum(running.own_errors[:, root], acts * rng.uniform(0.02, 0.5))
        running.own_latency[:, root] *= 1 + acts * size / 3


def _shown(running: _Running, edges: IntArray, rng: Rng) -> FloatArray:
    """Let calls carry load down, and latency and errors up; return (rows, services, signals)."""
    rows, count = running.own_latency.shape
    callees: list[list[int]] = [[] for _ in range(count)]
    for caller, callee in edges:
        callees[caller].append(int(callee))
    share = {(int(a), int(b)): rng.uniform(0.2, 1.5) for a, b in edges}
    requests = np.zeros((rows, count))
    requests[:, 0] = running.load[:, 0] * np.exp(rng.normal(3, 1))
    for caller in range(count):
        answered = 1 - 0.7 * running.own_errors[:, caller] * rng.uniform(0, 1)
        for callee in callees[caller]:
            requests[:, callee] += requests[:, caller] * share[caller, callee] * answered * running.alive[:, caller]
    usual = requests.mean(axis=0) + np.finfo(float).tiny
    busy = rng.uniform(0.05, 0.6, size=count) * requests / usual
    # What is busy queues: the waiting time of one server, held short of its pole.
    latency = running.own_latency / (1 - np.minimum(busy + running.wasted_cpu * 0.2, 0.9))
    errors = running.own_errors.copy()
    for caller in range(count - 1, -1, -1):
        for callee in callees[caller]:
            lag = int(rng.integers(0, 2))
            waits = latency[:, callee] + running.added_on_call[:, callee]
            gone = 1 - running.alive[:, callee]
            timeout = gone * latency[:, caller].mean() * rng.uniform(0, 10)
            latency[:, caller] += _later(waits, lag) * share[caller, callee] * rng.uniform(0.5, 1.0) + timeout
            passed = rng.uniform(0.3, 1.0) * np.maximum(errors[:, callee], gone)
            errors[:, caller] = 1 - (1 - errors[:, caller]) * (1 - _later(passed, lag))
    tail = latency * (1.5 + np.abs(wander(rng, rows, count, memory=0.2, sway=0.2)))
    cpu = (busy + running.wasted_cpu) * running.alive + 0.02
    threads = (5 + requests / usual * 10 * latency / latency.mean(axis=0)) * np.maximum(running.alive, 0.05)
    memory = running.memory * np.maximum(running.alive, 0.1)
    # A service that gets fewer requests because it is dead says so in its own counters too.
    seen = requests * running.alive
    return np.stack([latency, tail, errors, seen, cpu, memory, threads], axis=2)


def _later(series: FloatArray, rows: int) -> FloatArray:
    return series if rows == 0 else delayed(series - series[0], rows) + series[0]


def _alarmed(values: FloatArray, edges: IntArray, roots: tuple[int, ...], when: Timing, rng: Rng) -> int | None:
    """Choose where the alarm rings: among what depends on a root, the more something moved the likelier."""
    if not roots:
        return int(rng.integers(values.shape[1])) if happens(rng, 0.5) else None
    above = {roots[0]}
    for caller, callee in edges[np.argsort(-edges[:, 1], kind="stable")]:
        if int(callee) in above:
            above.add(int(caller))
    chosen = np.array(sorted(above))
    seen = values[:, chosen][:, :, [LATENCY, ERRORS]]
    before, during = seen[: when.split].mean(axis=0), seen[when.split :].mean(axis=0)
    moved = np.abs(np.log((during + 0.01) / (before + 0.01))).max(axis=1) + 0.05
    # Alarms are set at the front more often than in the depth.
    moved *= 1 + 2.0 * (chosen == 0)
    return int(rng.choice(chosen, p=moved / moved.sum()))
