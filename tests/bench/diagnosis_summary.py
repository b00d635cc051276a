"""From replays to figures: who is right how often, in the same trials, and how honest the confidence is. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from statistics import median

import numpy as np

from models.diagnosing import Measured
from models.incident import FaultKind
from models.scoring import calibration_error, paired_interval
from tests.bench.diagnosis_cells import QUIET
from tests.bench.intervals import Interval, mean_interval, share_interval
from tests.bench.replay import Answered, Method, Replayed, Said, pooled
from tests.bench.report import Row

# Issue 4, "done when" 3.
ELEMENT, KIND, BOTH, NO_KIND_UNDER = 0.90, 0.85, 0.75, 0.70
LOUD = 0.5
TOP = 3
FEW = 5  # drawn from fewer, a kind hardly ever differs from itself, and the interval would claim certainty
PEERS = tuple(one for one in Method if one is not Method.CYCLE)

Judge = Callable[[Replayed, Method], float]


def element_is_right(one: Replayed, method: Method) -> float:
    """Return 1 where the first incident's first cause is the harmed element."""
    said = said_first(one, method)
    return float(said is not None and said.element == one.harms[0][0])


def kind_is_right(one: Replayed, method: Method) -> float:
    """Return 1 where element and kind are."""
    said = said_first(one, method)
    return float(said is not None and (said.element, said.fault) == one.harms[0])


def both_are_near_the_top(one: Replayed, method: Method) -> float:
    """Return 1 where every harmed element is among the first three of all incidents' causes together."""
    return float({element for element, _ in one.harms} <= set(pooled(one.incidents, method)[:TOP]))


def said_first(one: Replayed, method: Method) -> Said | None:
    """Return what the cycle would have acted on first; None where nothing was seen."""
    return one.incidents[0].said.get(method) if one.incidents else None


def rows(replayed: Sequence[Replayed], *, seed: int) -> tuple[Row, ...]:
    """Return the report's rows; a kind of fault counts as much as any other in what is called `macro`."""
    single = sorted((one for one in replayed if one.case != QUIET and len(one.harms) == 1), key=_kind)
    double = [one for one in replayed if len(one.harms) > 1]
    found: list[Row] = []
    of_kind = {FaultKind(kind): list(group) for kind, group in groupby(single, key=_kind)}
    for metric, judge, goal in (
        ("right_element", element_is_right, ELEMENT),
        ("right_kind", kind_is_right, KIND),
    ):
        found += [_share(kind.value, metric, group, judge, goal=NO_KIND_UNDER) for kind, group in of_kind.items()]
        if of_kind:
            found.append(_macro(metric, list(of_kind.values()), judge, goal=goal, seed=seed))
    if double:
        found.append(_share("two at once", "both_in_top3", double, both_are_near_the_top, goal=BOTH))
    if single:
        found += [*_delays(of_kind, seed=seed), *_honesty(single)]
    found += [_quiet(replayed), _wrong(replayed)]
    return tuple(found)


def measured(replayed: Sequence[Replayed], method: Method, *, commit: str) -> dict[FaultKind, Measured]:
    """Return what `ON_THE_LAB` holds: how often rules and engine were right, by the kind that the rules put first."""
    counts: dict[FaultKind, list[int]] = {}
    for one in replayed:
        rules, other = said_first(one, Method.RULES), said_first(one, method)
        if rules is None or len(one.harms) > 1 or one.case == QUIET:
            continue
        row = counts.setdefault(rules.fault, [0, 0, 0])
        truth = one.harms[0][0]
        row[0] += rules.element == truth
        row[1] += other is not None and other.element == truth
        row[2] += 1
    return {fault: Measured(*row, commit=commit) for fault, row in sorted(counts.items())}


def notes(replayed: Sequence[Replayed], *, commit: str, side: str) -> list[str]:
    """Say what the figures rest on, and what they are not."""
    loads = [one.load for one in replayed]
    span = f"{min(loads, default=0):.1f} to {max(loads, default=0):.1f}"
    lines = [
        f"{len(replayed)} recordings ({side}), recorded at a load of {span}; nobody acted",
        "judged is what the cycle would have acted on first",
        "cycle is what tasks/analyze.py answers: the rules, but where ON_THE_LAB lets an engine say where",
    ]
    for one in replayed:
        said = said_first(one, Method.CYCLE)
        if one.case != QUIET and len(one.harms) == 1 and not kind_is_right(one, Method.CYCLE):
            told = "nothing" if said is None else f"{said.fault} of {said.element} at {said.confidence:.2f}"
            lines.append(f"missed: {one.recording} ({one.harms[0][1]} of {one.harms[0][0]}): {told}")
        if len(one.harms) > 1 and not both_are_near_the_top(one, Method.CYCLE):
            told = ", ".join(pooled(one.incidents, Method.CYCLE)[:TOP]) or "nothing"
            truth = ", ".join(f"{kind} of {element}" for element, kind in one.harms)
            lines.append(f"missed: {one.recording} ({truth}): {told}")
    for method in (Method.CAUSAL, Method.LEARNED):
        for fault, row in measured(replayed, method, commit=commit).items():
            better = "; better beyond noise" if row.is_better else ""
            lines.append(
                f"where the rules say {fault}: right element rules {row.rules}, {method} {row.engine} "
                f"of {row.trials}{better}"
            )
    return lines


def confidences(replayed: Sequence[Replayed], method: Method) -> list[tuple[FaultKind, float, bool]]:
    """Return (kind said, confidence, whether element and kind are right) of each first sure diagnosis of one fault."""
    found = []
    for one in replayed:
        said = said_first(one, method)
        if said is not None and said.element is not None and len(one.harms) == 1 and one.case != QUIET:
            found.append((said.fault, said.confidence, bool(kind_is_right(one, method))))
    return found


def _kind(one: Replayed) -> str:
    return one.harms[0][1].value


def _share(case: str, metric: str, group: Sequence[Replayed], judge: Judge, *, goal: float) -> Row:
    hits = {method: [judge(one, method) for one in group] for method in Method}
    return Row(
        case=case,
        metric=metric,
        unit="share",
        value=float(np.mean(hits[Method.CYCLE])),
        n=len(group),
        interval=share_interval(int(sum(hits[Method.CYCLE])), len(group)),
        peers={method.value: float(np.mean(hits[method])) for method in PEERS},
        goal=goal,
        better="higher",
    )


def _macro(metric: str, groups: Sequence[Sequence[Replayed]], judge: Judge, *, goal: float, seed: int) -> Row:
    def mean(method: Method) -> float:
        return float(np.mean([np.mean([judge(one, method) for one in group]) for group in groups]))

    return Row(
        case="macro",
        metric=metric,
        unit="share",
        value=mean(Method.CYCLE),
        n=sum(map(len, groups)),
        interval=_macro_interval(groups, judge, seed=seed),
        peers={method.value: mean(method) for method in PEERS},
        goal=goal,
        better="higher",
    )


def _macro_interval(groups: Sequence[Sequence[Replayed]], judge: Judge, *, seed: int) -> Interval | None:
    """Resample within each kind, so that each kind stays in; None where a kind has too few to resample."""
    if min(map(len, groups)) < FEW:
        return None
    rng = np.random.default_rng(seed)
    hits = [np.array([judge(one, Method.CYCLE) for one in group]) for group in groups]
    drawn = np.mean([rng.choice(one, size=(2000, len(one))).mean(axis=1) for one in hits], axis=0)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def _delays(of_kind: dict[FaultKind, list[Replayed]], *, seed: int) -> list[Row]:
    found = []
    for kind, group in of_kind.items():
        waits = [(one.incidents[0].at - one.fault_at).total_seconds() for one in group if _sure(one)]
        found.append(
            Row(
                case=kind.value,
                metric="fault_to_sure_p50",
                unit="s",
                value=median(waits) if waits else None,
                n=len(waits),
                interval=mean_interval(waits, seed=seed),
            )
        )
    return found


def _sure(one: Replayed) -> Answered | None:
    return one.incidents[0] if one.incidents and one.incidents[0].is_sure else None


def _honesty(single: Sequence[Replayed]) -> list[Row]:
    found = []
    for metric, measure in (("ece", calibration_error), ("brier", _brier)):
        values: dict[Method, float | None] = {}
        for method in Method:
            said = confidences(single, method)
            claimed, right = np.array([one[1] for one in said]), np.array([float(one[2]) for one in said])
            values[method] = float(measure(claimed, right)) if said else None
        found.append(
            Row(
                case="confidence",
                metric=metric,
                unit="share",
                value=values[Method.CYCLE],
                n=len(confidences(single, Method.CYCLE)),
                peers={method.value: values[method] for method in PEERS},
            )
        )
    return found


def _brier(claimed: np.ndarray, right: np.ndarray) -> float:
    return float(np.mean((claimed - right) ** 2))


def _quiet(replayed: Sequence[Replayed]) -> Row:
    loud = {method: sum(one.loudest_before.get(method, 0.0) > LOUD for one in replayed) for method in Method}
    return Row(
        case=QUIET,
        metric="diagnoses_above_half",
        unit=f"recordings, in {sum(one.quiet_s for one in replayed) / 60:.0f} min before any harm",
        value=loud[Method.CYCLE],
        n=len(replayed),
        peers={method.value: loud[method] for method in PEERS},
        goal=0,
    )


def _wrong(replayed: Sequence[Replayed]) -> Row:
    """Incidents that were sure enough to act on and name an element that nobody harmed."""
    sure = [(one, incident) for one in replayed if one.case != QUIET for incident in one.incidents if incident.is_sure]

    def share(method: Method) -> float | None:
        wrong = [
            method in incident.said and incident.said[method].element not in {element for element, _ in one.harms}
            for one, incident in sure
        ]
        return float(np.mean(wrong)) if wrong else None

    return Row(
        case="all",
        metric="sure_of_the_wrong_element",
        unit="share of sure incidents",
        value=share(Method.CYCLE),
        n=len(sure),
        peers={method.value: share(method) for method in PEERS},
    )


def lead(replayed: Sequence[Replayed], method: Method, *, seed: int) -> Interval | None:
    """Return the 95 % interval of (an engine's right elements minus the rules') in the same trials; None of none."""
    single = [one for one in replayed if one.case != QUIET and len(one.harms) == 1]
    if not single:
        return None
    theirs = np.array([element_is_right(one, Method.RULES) for one in single])
    ours = np.array([element_is_right(one, method) for one in single])
    return paired_interval(ours, theirs, rng=np.random.default_rng(seed))
