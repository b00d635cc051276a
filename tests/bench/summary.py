"""From finished trials to the rows of the healing report, with their goals. Pure.

The controller's figure is a row's value, the other arms are its peers. Void trials and failed ones are counted, and
enter no other figure. What never recovered, or was never detected, counts as the cap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from infra.lab.verdict import TrialResult
from tests.bench.cells import ALONE, CAP_S, CASES, Arm, Cell
from tests.bench.intervals import (
    Interval,
    mean_interval,
    median_upper_bound,
    quantile,
    quantile_interval,
    share_interval,
)
from tests.bench.records import Record, wanting
from tests.bench.report import Better, Row

ENOUGH = 20  # trials of each fault and arm before a goal is said to be met or not
P95_GOALS_S: Mapping[str, float] = {
    **dict.fromkeys(("grey", "grey-large", "grey-flow", "loss"), 5.0),
    **dict.fromkeys(("mtu", "daemon_hung", "route_drift", "sysctl_drift", "qdisc_drift"), 20.0),
}
# Routing repairs these by itself: the controller must not be in its way.
OVER_ALONE_GOALS_S: Mapping[str, float] = dict.fromkeys(("link_down", "blackhole", "node_dead"), 1.0)
RIGHT_ELEMENT_GOAL = 0.9

Figure = tuple[float | None, Interval | None]
Results = Sequence[TrialResult]


@dataclass(frozen=True, slots=True)
class _Metric:
    name: str
    unit: str
    of: Callable[[Results], Figure]
    controller_only: bool = False
    better: Better = "lower"


def rows(records: Sequence[Record], *, seed: int) -> tuple[Row, ...]:
    """Return every row, faults in the catalogue's order."""
    tried = {record.case for record in records}
    return tuple(row for case in CASES if case in tried for row in _of_case(case, records, seed))


def notes(plan: Sequence[Cell], records: Sequence[Record]) -> tuple[str, ...]:
    """Return what a reader of the figures must know beside them."""
    said = []
    missing = [cell for cell in plan if not any(one.cell == cell and one.end == "counts" for one in records)]
    if missing:
        never = len(missing) - len(wanting(missing, records))
        said.append(f"{len(missing)} of {len(plan)} trials have no result; {never} of them used up their attempts")
    counted: dict[tuple[str, Arm], int] = {}
    for cell in plan:
        counted.setdefault((cell.case, cell.arm), 0)
    for record in records:
        if record.end == "counts":
            counted[record.case, record.arm] = counted.get((record.case, record.arm), 0) + 1
    few = min(counted.values(), default=0)
    if few < ENOUGH:
        said.append(f"only {few} trials of some fault and arm; a goal is judged on {ENOUGH}")
    commits = sorted({record.commit for record in records})
    if len(commits) > 1:
        said.append(f"trials of several commits: {', '.join(one[:12] for one in commits)}")
    loads = sorted(record.load for record in records)
    if loads:
        said.append(f"load average while measuring: median {quantile(loads, 0.5):.1f}, highest {loads[-1]:.1f}")
    used = [record.cpu_s / record.wall_s for record in records if record.cpu_s is not None and record.arm.heals]
    if used:
        said.append(f"a trial with the controller used {fmean(used):.2f} cores on average")
    return tuple(said)


def _of_case(case: str, records: Sequence[Record], seed: int) -> list[Row]:
    results = {arm: _counted(case, arm, records) for arm in Arm}
    ran = {record.arm for record in records if record.case == case}
    made = []
    for metric in _metrics(seed):
        peers = {} if metric.controller_only else {arm: metric.of(results[arm]) for arm in ran if not arm.heals}
        value, interval = metric.of(results[Arm.CONTROLLER])
        made.append(
            Row(
                case=case,
                metric=metric.name,
                unit=metric.unit,
                value=value,
                interval=interval,
                n=len(results[Arm.CONTROLLER]),
                peers={arm.value: peers[arm][0] for arm in sorted(peers)},
                peer_intervals={arm.value: found for arm in sorted(peers) if (found := peers[arm][1]) is not None},
                goal=_goal(case, metric.name) if Arm.CONTROLLER in ran else None,
                better=metric.better,
            )
        )
    made += _counts(case, records, ran, n=len(results[Arm.CONTROLLER]))
    if {Arm.CONTROLLER, ALONE} <= ran:
        made.append(_over_alone(case, records))
    return made


def _counted(case: str, arm: Arm, records: Sequence[Record]) -> list[TrialResult]:
    return [
        one.result
        for one in records
        if one.end == "counts" and one.case == case and one.arm is arm and one.result is not None
    ]


def _goal(case: str, metric: str) -> float | None:
    return {
        "outage_p95": P95_GOALS_S.get(case),
        "right_element": RIGHT_ELEMENT_GOAL,
        "wrong_left": 0.0,
    }.get(metric)


def _metrics(seed: int) -> tuple[_Metric, ...]:
    def at(share: float, values: Callable[[Results], list[float]]) -> Callable[[Results], Figure]:
        return lambda found: (
            quantile(values(found), share),
            quantile_interval(values(found), share, seed=seed),
        )

    def mean(value: Callable[[TrialResult], int]) -> Callable[[Results], Figure]:
        return lambda found: (
            fmean(map(value, found)) if found else None,
            mean_interval([value(one) for one in found], seed=seed),
        )

    def total(value: Callable[[TrialResult], int]) -> Callable[[Results], Figure]:
        return lambda found: (float(sum(map(value, found))) if found else None, None)

    def share(holds: Callable[[TrialResult], bool]) -> Callable[[Results], Figure]:
        return lambda found: (
            sum(map(holds, found)) / len(found) if found else None,
            share_interval(sum(map(holds, found)), len(found)),
        )

    return (
        _Metric("time_to_detect_p95", "s", at(0.95, _detections), controller_only=True),
        _Metric("never_detected", "runs", total(lambda one: one.detect_s is None), controller_only=True),
        _Metric("alarms_before_fault", "runs", total(_is_early), controller_only=True),
        _Metric("outage_p50", "s", at(0.5, _outages)),
        _Metric("outage_p95", "s", at(0.95, _outages)),
        _Metric("never_recovered", "runs", total(lambda one: bool(one.never_recovered))),
        _Metric(
            "right_element", "share", share(lambda one: bool(one.right_element)), controller_only=True, better="higher"
        ),
        _Metric(
            "right_cause", "share", share(lambda one: bool(one.right_cause)), controller_only=True, better="higher"
        ),
        _Metric("actions", "per run", mean(lambda one: len(one.actions)), controller_only=True),
        _Metric("undone", "operations", total(lambda one: one.undone), controller_only=True),
        _Metric("wrong_left", "operations", total(lambda one: one.wrong_left), controller_only=True),
        _Metric("route_changes", "per run", mean(lambda one: one.route_changes)),
    )


def _detections(found: Results) -> list[float]:
    # An alarm from before the fault did not see the fault, and must not make detection look quick.
    return [CAP_S if one.detect_s is None or _is_early(one) else one.detect_s for one in found]


def _is_early(one: TrialResult) -> bool:
    return one.detect_s is not None and one.detect_s < 0


def _outages(found: Results) -> list[float]:
    return [one.outage_s for one in found if one.outage_s is not None]


def _counts(case: str, records: Sequence[Record], ran: set[Arm], *, n: int) -> list[Row]:
    made = []
    for metric, end in (("voids", "void"), ("errors", "error")):
        by_arm = {
            arm: float(sum(one.end == end and one.case == case and one.arm is arm for one in records))
            for arm in sorted(ran)
        }
        own = by_arm.pop(Arm.CONTROLLER, None)
        peers: dict[str, float | None] = {arm.value: count for arm, count in by_arm.items()}
        made.append(Row(case=case, metric=metric, unit="runs", value=own, n=n, peers=peers))
    return made


def _over_alone(case: str, records: Sequence[Record]) -> Row:
    """Compare pairs of the same mesh, place and traffic, with the controller and with the same timers alone."""
    outages: dict[Arm, dict[int, float]] = {Arm.CONTROLLER: {}, ALONE: {}}
    for record in records:
        one = record.result
        if (
            record.case == case
            and record.end == "counts"
            and record.arm in outages
            and one
            and one.outage_s is not None
        ):
            outages[record.arm][record.number] = one.outage_s
    ours, theirs = outages[Arm.CONTROLLER], outages[ALONE]
    differences = [ours[number] - theirs[number] for number in sorted(ours.keys() & theirs.keys())]
    return Row(
        case=case,
        metric="outage_over_alone_upper95",
        unit="s",
        value=median_upper_bound(differences),
        n=len(differences),
        goal=OVER_ALONE_GOALS_S.get(case),
    )
