"""`bench rca_systems`: what confidence is worth on a system that nobody has seen, by leaving out systems.

How sharp the causal score is, what nobody in view scores, and from where on an element is a candidate, is fitted on all
systems but one and judged on that one's training side; then on all of them, which is what ships
(`models/calibration.py`). No test side is asked. Simulated call graphs, meshes and alerts are systems too; they alone
have incidents without a root in view.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from models.baselines import BASELINES
from models.calibration import Calibration, conformal_threshold, held_confidences
from models.errors import MeshError
from models.scoring import surprise
from models.simulation import NO_ROOT_SHARE, simulated
from models.snapshot import Case, Kind
from tests.bench import rca
from tests.bench.report import Report, Row, Run, show

SEED = 20261123
_SIMULATED = 1500
# Coarse steps: systems differ by more.
_SHARPNESS = tuple(round(0.1 * k, 1) for k in range(5, 41))
_NOBODY = tuple(0.5 * k for k in range(13))

Systems = Mapping[str, list[Case]]


def simulated_systems(count: int) -> dict[str, list[Case]]:
    """Return simulated incidents by kind; those without a root in view are among them."""
    found: dict[str, list[Case]] = {"simulated alerts": [], "simulated calls": [], "simulated mesh": []}
    for case in simulated(count, seed=SEED):
        called = "calls" if case.snapshot.kinds[0] is Kind.SERVICE else "mesh"
        if rca.only_alerts([case]):
            called = "alerts"
        found[f"simulated {called}"].append(case)
    return found


def fitted_over(answers: Mapping[str, list[rca.Answer]]) -> Calibration:
    """Fit one calibration to systems that count the same, however many incidents each has.

    The sharpness is fitted to incidents with a root in view; what nobody scores, after it, to all: so that its share,
    which is declared by the simulation and nowhere measured, decides about nothing else.

    Args:
        answers: By system; the scores not calibrated.
    """
    rooted = {name: part for name, all_of in answers.items() if (part := [one for one in all_of if one.roots])}
    without = [part for all_of in answers.values() if (part := [one for one in all_of if not one.roots])]

    def cost(calibration: Calibration, groups: Iterable[list[rca.Answer]]) -> float:
        return float(np.mean([np.mean([_surprise(calibration, one) for one in group]) for group in groups]))

    sharpness = min(_SHARPNESS, key=lambda one: cost(Calibration((one,), -np.inf, 0.0, 0), rooted.values()))
    tried = [Calibration((sharpness,), nobody, 0.0, 0) for nobody in _NOBODY]
    found = tried[0].in_view()
    if without:
        share = NO_ROOT_SHARE
        found = min(tried, key=lambda one: (1 - share) * cost(one, rooted.values()) + share * cost(one, without))
    return replace(found, threshold=min(_threshold(found, part) for part in rooted.values()))


def _threshold(calibration: Calibration, part: Sequence[rca.Answer]) -> float:
    """Return from where on elements are candidates, so that nine of ten roots of this system are."""
    held = held_confidences(calibration, [one.scores for one in part], [one.roots for one in part])
    return conformal_threshold(held)


def _surprise(calibration: Calibration, one: rca.Answer) -> float:
    confidence, nobody = calibration.confidence(one.scores)
    return surprise(confidence, nobody, one.roots)


def measure(systems: Systems) -> Report:
    """Leave out each system in turn, then none."""
    run = Run.begin("rca_systems", seed=SEED)
    answers = {name: rca.answered(cases, rca.causal_total, None) for name, cases in systems.items()}
    rows: list[Row] = []
    notes: list[str] = []
    for left, cases in systems.items():
        others = fitted_over({name: all_of for name, all_of in answers.items() if name != left})
        asked = [case for case in cases if case.roots]
        ours = rca.answered(asked, rca.causal_total, others.in_view())
        peers = {name: rca.answered(asked, score, None) for name, score in BASELINES.items() if name != "random"}
        rows += rca.honesty(left, ours, peers)
        said, right = (np.mean([measure(one) for one in ours]) for measure in (_said, dict(rca.MEASURES)["top1"]))
        sets = [np.array(others.candidates(*others.confidence(one.scores))) for one in ours]
        holds = np.mean([chosen[list(one.roots)].any() for chosen, one in zip(sets, ours, strict=True)])
        notes.append(
            f"{left}: {_words(others)} by the others; says {said:.2f}, is right {right:.2f}; candidates hold the root "
            f"in {holds:.2f}, {np.mean([chosen.sum() for chosen in sets]):.1f} elements of {len(sets[0])}"
        )
    notes.append(f"all systems: {_words(fitted_over(answers))}; shipped: {_words(Calibration.shipped())}")
    return run.report(rows, notes)


def _said(one: rca.Answer) -> float:
    return 0.0 if one.confidence is None else float(one.confidence.max())


def _words(calibration: Calibration) -> str:
    return (
        f"sharpness {calibration.weights[0]:.1f}, nobody {calibration.bias:.1f}, threshold {calibration.threshold:.3f}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0: measured, 2: it could not be."""
    parser = argparse.ArgumentParser(prog="x0tta6bl4 bench rca_systems", description=__doc__)
    parser.add_argument("--set", action="append", default=[], metavar="FORMAT=DIR", help="a system; may be repeated")
    parser.add_argument("--simulated", type=int, default=_SIMULATED, help="incidents to simulate; 0: none")
    parser.add_argument("--json", type=Path, help="write the report to this file")
    chosen = parser.parse_args(arguments)
    systems: dict[str, list[Case]] = {}
    try:
        for given in chosen.set:
            kind, _, folder = given.partition("=")
            if kind not in rca.LOADERS or not folder:
                parser.error(f"--set {given}: give FORMAT=DIR, with one of {', '.join(sorted(rca.LOADERS))}")
            cases = [case for case in rca.LOADERS[kind](Path(folder)) if case.side == "train"]
            systems[Path(folder).name] = cases
        if chosen.simulated:
            systems |= simulated_systems(chosen.simulated)
        if len(systems) < 2:  # one to leave out, one to fit on
            parser.error("give at least two systems by --set FORMAT=DIR")
        report = measure(systems)
    except MeshError as error:
        Console(stderr=True, soft_wrap=True).print(str(error), markup=False)
        return 2
    show(report, Console(width=180))
    if chosen.json:
        report.write(chosen.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
