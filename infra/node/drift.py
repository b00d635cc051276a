"""What of a node's configuration is not what its baseline recorded. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from infra.node.routes import grouped
from models.telemetry import Drift, DriftKind, NodeBaseline


def drifts(baseline: NodeBaseline, now: NodeBaseline) -> tuple[Drift, ...]:
    """Compare a configuration with the recorded one.

    Only what the baseline recorded can stray, except routes: there a new one is a drift too. What the node cannot read
    now (an interface that vanished) is no drift: the symptom of that is elsewhere, and nothing could be restored.

    Args:
        baseline: What was recorded.
        now: `HostSenses.configuration()`.

    Returns:
        Sorted by kind and subject. A route's values are the prefix's `ip route` lines, sorted and joined by `; `.
    """
    recorded, present = grouped(baseline.routes), grouped(now.routes)
    return tuple(
        sorted(
            [
                *_changed(DriftKind.MTU, baseline.mtu, now.mtu),
                *_changed(DriftKind.QDISC, baseline.qdisc, now.qdisc),
                *_changed(DriftKind.SYSCTL, baseline.sysctl, now.sysctl),
                *_different(DriftKind.ROUTE, recorded, present, recorded.keys() | present.keys()),
            ]
        )
    )


def _changed(kind: DriftKind, recorded: Mapping[str, object], present: Mapping[str, object]) -> Iterator[Drift]:
    return _different(kind, recorded, present, recorded.keys() & present.keys())


def _different(
    kind: DriftKind, recorded: Mapping[str, object], present: Mapping[str, object], subjects: Iterable[str]
) -> Iterator[Drift]:
    for subject in subjects:
        expected, actual = str(recorded.get(subject, "")), str(present.get(subject, ""))
        if expected != actual:
            yield Drift(kind, subject, expected, actual)
