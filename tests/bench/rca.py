"""`bench rca`: how often the root of published incidents is found, how honest the confidence is, and beside whom.

Fits on the training side only and asks the test side once; every time a test side is asked, a line is added to a log.
Where a set publishes no sides (rcaeval), each root in turn is left out: the method answers for a root it never saw.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from infra.datasets.petshop import load_petshop
from infra.datasets.rcaeval import load_rcaeval
from infra.datasets.tvdiag import load_tvdiag
from models.baselines import BASELINES
from models.calibration import Calibration
from models.causal import causal_scores
from models.causalfit import causal_parts, fit_causal
from models.errors import DatasetInvalid, MeshError
from models.ranking import dealt, fit_ranker
from models.scoring import accuracy_at_coverage, average_at, brier, calibration_error, hit, interval, paired_interval
from models.scoring import surprise as surprise_of
from models.snapshot import Case, FloatArray, SignalKind, Snapshot
from tests.bench.report import ROOT, Better, Report, Row, Run, show

SEED = 20261122
LOOKS = ROOT / "docs/rca-looks.jsonl"
OURS = "ours"
LOADERS: Mapping[str, Callable[[Path], tuple[Case, ...]]] = {
    "petshop": load_petshop,
    "rcaeval": load_rcaeval,
    "tvdiag": load_tvdiag,
}
# Issue 4, "done when" 2.
GOALS: Mapping[tuple[str, str], float] = {
    ("petshop", "top1"): 0.80,
    ("petshop", "avg5"): 0.90,
    ("rcaeval", "top1"): 0.62,
    ("rcaeval", "avg5"): 0.75,
    ("gaia", "top1"): 0.86,
    ("sockshop", "top1"): 0.90,
}
# Measuring what a wrong confidence costs on fewer cases than this tells nothing of a bin.
_ECE_CASES = 900
_ECE_GOAL = 0.05
_FOLDS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What one method said of one case; confidence None: it states none."""

    case: Case
    scores: FloatArray
    confidence: FloatArray | None
    nobody: float
    ms: float

    @property
    def roots(self) -> tuple[int, ...]:
        """Places of the true roots."""
        return tuple(self.case.snapshot.elements.index(root) for root in self.case.roots)


def answered(
    cases: Sequence[Case], score: Callable[[Snapshot], FloatArray], calibration: Calibration | None
) -> list[Answer]:
    """Ask one method about every case."""
    answers = []
    for case in cases:
        start = time.perf_counter()
        scores = score(case.snapshot)
        confidence, nobody = calibration.confidence(scores) if calibration else (None, 0.0)
        ms = (time.perf_counter() - start) * 1e3
        ranked = calibration.blended(scores) if calibration else scores
        answers.append(Answer(case, ranked, confidence, nobody, ms))
    return answers


def fitted_answers(train: Sequence[Case], test: Sequence[Case]) -> list[Answer]:
    """Fit on one side, answer for the other: trees to alerts, which have many roots, nine weights to measurements."""
    if only_alerts(train):
        # Sides were drawn at random from the same roots.
        ranker = fit_ranker(train, seed=SEED, fold_by="case")
        return answered(test, ranker.scores, ranker.calibration)
    return answered(test, causal_parts, fit_causal(train))


def only_alerts(cases: Sequence[Case]) -> bool:
    """Say whether a set holds alerts that others raised, and nothing measured."""
    return all(spec.kind is SignalKind.EVENT for spec in cases[0].snapshot.signals)


def zero_shot(cases: Sequence[Case]) -> list[Answer]:
    """Answer without having been fitted to anything of the system; every set asked has its roots in view."""
    return answered(cases, causal_total, Calibration.shipped().in_view())


def causal_total(snapshot: Snapshot) -> FloatArray:
    """Return (N,) the causal score as it ships."""
    return causal_scores(snapshot).total


def left_out(cases: Sequence[Case], asked: Sequence[Case]) -> list[Answer]:
    """Answer for each part of the cases after being fitted on all others.

    A part is a root; of alerts, whose sides were drawn at random from the same roots, a quarter of every root's cases.

    Args:
        cases: To fit on.
        asked: The same incidents, or those as seen at another moment.
    """
    parts = dealt(cases, _FOLDS) if only_alerts(cases) else [case.group for case in cases]
    part_of = {case.name: part for case, part in zip(cases, parts, strict=True)}
    found: dict[str, Answer] = {}
    for part in sorted(set(parts)):
        rest = [case for case in cases if part_of[case.name] != part]
        found |= {
            one.case.name: one for one in fitted_answers(rest, [case for case in asked if part_of[case.name] == part])
        }
    return [found[case.name] for case in asked]


def shifted(label: str, data: Path, cases: Sequence[Case], ours: Sequence[Answer]) -> list[Row]:
    """Say what an alarm costs that comes a minute early or late; what was fitted stays as it was."""
    average = dict(MEASURES)["avg5"]
    exact = float(np.mean([average(one) for one in ours]))
    rows = []
    for moved in (-60.0, 60.0):
        answers = left_out(cases, load_rcaeval(data, shift_s=moved))
        loss = exact - float(np.mean([average(one) for one in answers]))
        rows.append(
            Row(
                case=f"{label} {moved:+.0f} s",
                metric="avg5_loss",
                unit="share",
                value=loss,
                n=len(answers),
                peers={},
                goal=0.03,
                better="lower",
            )
        )
    return rows


def plans(
    kind: str, cases: Sequence[Case], *, without_fitting: bool, training_only: bool = False
) -> list[tuple[str, list[Case], list[Case]]]:
    """Return (what, cases to fit on, cases to ask); nothing to fit on: each part is left out in turn, or zero-shot."""
    if training_only:
        return [("training side", [], [case for case in cases if case.side == "train"])]
    if without_fitting:
        return [("zero-shot", [], list(cases))]
    if kind == "rcaeval":
        return [("leave-one-root-out", [], list(cases))]
    if kind == "petshop":
        low = [case for case in cases if case.name.startswith("low_traffic/")]
        cases = low or list(cases)
    train, test = ([case for case in cases if case.side == side] for side in ("train", "test"))
    if not train or not test:
        raise DatasetInvalid(kind, "it has no training side and test side to fit on and to ask")
    return [("train to test", train, test)]


def rows_of(label: str, key: str, by_method: Mapping[str, list[Answer]]) -> list[Row]:
    """Turn answers into figures: ranking, honesty, time, and ranking per fault kind."""
    ours = by_method[OURS]
    peers = {name: answers for name, answers in by_method.items() if name != OURS}
    rows = [
        _ranked(label, metric, measure, by_method=by_method, goal=GOALS.get((key, metric)))
        for metric, measure in MEASURES
    ]
    rows += honesty(label, ours, peers)
    ms = np.array([one.ms for one in ours])
    for name, share in (("ms_p50", 50), ("ms_p99", 99)):
        theirs = {peer: float(np.percentile([one.ms for one in answers], share)) for peer, answers in peers.items()}
        rows.append(
            Row(case=label, metric=name, unit="ms", value=float(np.percentile(ms, share)), n=len(ms), peers=theirs)
        )
    for fault in sorted({one.case.fault for one in ours if one.case.fault}):
        part = {name: [one for one in all_of if one.case.fault == fault] for name, all_of in by_method.items()}
        goal = 0.25 if (key, fault) == ("rcaeval", "network_delay") else None
        rows.append(_ranked(f"{label} {fault}", "top1", MEASURES[0][1], by_method=part, goal=goal))
    return rows


MEASURES: tuple[tuple[str, Callable[[Answer], float]], ...] = (
    ("top1", lambda one: hit(one.scores, one.roots, top=1)),
    ("top3", lambda one: hit(one.scores, one.roots, top=3)),
    ("avg5", lambda one: average_at(one.scores, one.roots)),
)


def _ranked(
    label: str,
    metric: str,
    measure: Callable[[Answer], float],
    *,
    by_method: Mapping[str, list[Answer]],
    goal: float | None,
) -> Row:
    ours = by_method[OURS]
    peers = {name: answers for name, answers in by_method.items() if name != OURS}
    values = np.array([measure(one) for one in ours])
    theirs = {name: float(np.mean([measure(one) for one in answers])) for name, answers in peers.items()}
    return Row(
        case=label,
        metric=metric,
        unit="share",
        value=float(values.mean()),
        n=len(values),
        interval=interval(len(values), lambda drawn: float(values[drawn].mean()), rng=np.random.default_rng(SEED)),
        peers=theirs,
        goal=goal,
        better="higher",
    )


def with_best_temperature(answers: Sequence[Answer]) -> list[FloatArray]:
    """Turn scores of a peer, which states no confidence, into one by the softmax that suits these very cases best.

    That is kind to the peer: its temperature has seen the truth.
    """
    # A peer scores what was never measured minus infinity: last, and as little likely as its next.
    finite = [np.maximum(one.scores, one.scores[np.isfinite(one.scores)].min()) for one in answers]
    spread = max(float(np.mean([one.std() for one in finite])), np.finfo(float).tiny)

    def stated(sharpness: float) -> list[FloatArray]:
        exponents = [sharpness * (one - one.max()) / spread for one in finite]
        return [np.exp(each) / np.exp(each).sum() for each in exponents]

    def cost(sharpness: float) -> float:
        pairs = zip(stated(sharpness), answers, strict=True)
        return sum(surprise_of(likely, 0.0, one.roots) for likely, one in pairs)

    return stated(min((0.0, *np.geomspace(0.01, 100.0, 41)), key=cost))


def honesty(label: str, ours: list[Answer], others: Mapping[str, list[Answer]]) -> list[Row]:
    """Turn confidences into figures beside even odds and what the peers' scores can claim."""
    stated = [(one, one.confidence) for one in ours if one.confidence is not None]
    said = np.array([confidence.max() for _, confidence in stated])
    right = np.array([hit(one.scores, one.roots, top=1) for one, _ in stated])
    nll = np.array([surprise_of(confidence, one.nobody, one.roots) for one, confidence in stated])
    squares = np.array([brier(confidence, one.nobody, one.roots) for one, confidence in stated])
    even = [np.full(len(confidence), 1.0 / len(confidence)) for _, confidence in stated]
    even_nll = float(np.mean([surprise_of(flat, 0.0, one.roots) for flat, (one, _) in zip(even, stated, strict=True)]))
    even_brier = float(np.mean([brier(flat, 0.0, one.roots) for flat, (one, _) in zip(even, stated, strict=True)]))
    count = len(stated)
    kinds: tuple[tuple[str, str, Callable[[np.ndarray], float], float | None, Better], ...] = (
        (
            "ece",
            "share",
            lambda k: calibration_error(said[k], right[k]),
            _ECE_GOAL if count >= _ECE_CASES else None,
            "lower",
        ),
        ("nll", "nats", lambda k: float(nll[k].mean()), None, "lower"),
        ("brier", "1", lambda k: float(squares[k].mean()), None, "lower"),
        ("accuracy_at_70", "share", lambda k: accuracy_at_coverage(said[k], right[k]), None, "higher"),
    )
    flat = {"nll": {"even odds": even_nll}, "brier": {"even odds": even_brier}}
    for name, answers in others.items():
        pairs = list(zip(with_best_temperature(answers), answers, strict=True))
        flat["nll"][name] = float(np.mean([surprise_of(likely, 0.0, one.roots) for likely, one in pairs]))
        flat["brier"][name] = float(np.mean([brier(likely, 0.0, one.roots) for likely, one in pairs]))
    everyone = np.arange(count)
    return [
        Row(
            case=label,
            metric=metric,
            unit=unit,
            value=measure(everyone),
            n=count,
            interval=interval(count, measure, rng=np.random.default_rng(SEED)),
            peers=dict(flat.get(metric, {})),
            goal=goal,
            better=better,
        )
        for metric, unit, measure, goal, better in kinds
    ]


def differences(label: str, by_method: Mapping[str, list[Answer]]) -> list[str]:
    """Say of each peer how far ours is ahead on the same cases."""
    notes = []
    for metric, measure in (MEASURES[0], MEASURES[2]):
        ours = np.array([measure(one) for one in by_method[OURS]])
        for name, answers in by_method.items():
            if name != OURS:
                theirs = np.array([measure(one) for one in answers])
                low, high = paired_interval(ours, theirs, rng=np.random.default_rng(SEED))
                notes.append(
                    f"{label} {metric}: ours - {name} = {(ours - theirs).mean():+.3f} [{low:+.3f}, {high:+.3f}]"
                )
    return notes


def remember(look: Mapping[str, object], log: Path) -> int:
    """Add a line to the log of looks at test sides; return how many it holds for the same set."""
    with log.open("a") as file:
        file.write(json.dumps(look, sort_keys=True) + "\n")
    return sum(json.loads(line)["set"] == look["set"] for line in log.read_text().splitlines())


def measure(kind: str, data: Path, *, without_fitting: bool, log: Path, training_only: bool = False) -> Report:
    """Run everything for one set; of its training side only there is no look to be counted."""
    run = Run.begin("rca", seed=SEED)
    cases = LOADERS[kind](data)
    key = data.name if kind == "tvdiag" else kind
    rows: list[Row] = []
    notes: list[str] = []
    for what, train, test in plans(kind, cases, without_fitting=without_fitting, training_only=training_only):
        label = f"{key}/{what}"
        if without_fitting or len({case.group for case in test}) == 1:  # with its only root left out, nothing is left
            ours = zero_shot(test)
        elif train:
            ours = fitted_answers(train, test)
        else:
            ours = left_out(test, test)
        by_method = {OURS: ours} | {name: answered(test, score, None) for name, score in BASELINES.items()}
        rows += rows_of(label, "" if without_fitting else key, by_method)
        if kind == "rcaeval" and not without_fitting:
            rows += shifted(label, data, test, ours)
        notes += differences(label, by_method)
        if training_only:
            continue
        look = {"set": label, "at": run.started.isoformat(timespec="seconds"), "commit": run.commit, "cases": len(test)}
        look["top1"] = round(rows[0].value or 0.0, 4)
        looks = remember(look, log)
        notes.append(f"{label}: look number {looks} at these {len(test)} cases")
    return run.report(rows, notes)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0: every goal met, 1: one is not, 2: it could not be measured."""
    parser = argparse.ArgumentParser(prog="x0tta6bl4 bench rca", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the set (tvdiag: of one system)")
    parser.add_argument("--format", choices=sorted(LOADERS), required=True, help="how it is laid out")
    parser.add_argument("--json", type=Path, help="write the report to this file")
    parser.add_argument("--zero-shot", action="store_true", help="fit nothing on this system")
    parser.add_argument("--training-only", action="store_true", help="never ask the test side: cross-validation")
    parser.add_argument("--looks", type=Path, default=LOOKS, help="log of looks at test sides")
    chosen = parser.parse_args(arguments)
    try:
        report = measure(
            chosen.format,
            chosen.data,
            without_fitting=chosen.zero_shot,
            log=chosen.looks,
            training_only=chosen.training_only,
        )
    except MeshError as error:
        Console(stderr=True, soft_wrap=True).print(str(error), markup=False)
        return 2
    show(report, Console(width=180))
    if chosen.json:
        report.write(chosen.json)
    return 0 if report.is_met else 1


if __name__ == "__main__":
    sys.exit(main())
