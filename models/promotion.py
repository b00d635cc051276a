"""Which model may serve: the gate that a new one has to pass."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.baselines import unexplained_first
from models.fitting import Example
from models.graphinputs import COLUMNS, GraphInputs
from models.graphsage import forward, softmax_with_none
from models.scoring import average_at, hit
from models.snapshot import FloatArray
from models.weights import Weights

# A candidate that is worse by less than this is not called worse: about one incident in two hundred.
SLACK = 0.005
# Three robust deviations, in the columns' units: from here on a dependency counts as straying.
STRAYS = math.log1p(3.0) / 3.0


@dataclass(frozen=True, slots=True)
class Score:
    """How well a ranking found the roots of incidents that have one in view.

    Attributes:
        top1: Share of incidents whose first element is a root, 0..1; equals are counted in expectation.
        average5: Mean over k = 1..5 of the same for the first k.
        surprise: Mean -log of the confidence in the truth over all incidents, nats; None for rules without one.
        n: Incidents with a root.
    """

    top1: float
    average5: float
    surprise: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a candidate serves from now on, and why."""

    is_promoted: bool
    reason: str


def judge(candidate: Score, rivals: Mapping[str, Score], serving: Score | None) -> Verdict:
    """Let a candidate serve only when it beats every simple rule and is no worse than the one that serves.

    Args:
        candidate: On incidents that no fit has seen.
        rivals: Simple rules on the very same incidents.
        serving: The promoted model on the same; None: there is none.
    """
    if not candidate.n:
        return Verdict(False, "not promoted: no held-out incident has a root in view, so nothing was proven")
    for name, rival in sorted(rivals.items()):
        if candidate.top1 <= rival.top1 or candidate.average5 <= rival.average5:
            return Verdict(
                False,
                f"not promoted: top-1 {candidate.top1:.3f} and Avg@5 {candidate.average5:.3f} do not both beat "
                f"{name}'s {rival.top1:.3f} and {rival.average5:.3f} (n={candidate.n})",
            )
    if serving is not None:
        if candidate.top1 < serving.top1 - SLACK or candidate.average5 < serving.average5 - SLACK:
            return Verdict(
                False,
                f"not promoted: top-1 {candidate.top1:.3f} and Avg@5 {candidate.average5:.3f} are worse than the "
                f"serving model's {serving.top1:.3f} and {serving.average5:.3f} (n={candidate.n})",
            )
        if (candidate.surprise or 0.0) > (serving.surprise or 0.0) + SLACK:
            return Verdict(
                False,
                f"not promoted: its confidence is less honest than the serving model's, {candidate.surprise:.3f} "
                f"nats an incident against {serving.surprise:.3f} (n={candidate.n})",
            )
    return Verdict(
        True, f"promoted: top-1 {candidate.top1:.3f}, Avg@5 {candidate.average5:.3f} (n={candidate.n}) beat every rule"
    )


def score_of_model(weights: Weights, examples: Sequence[Example]) -> Score:
    """Score a fitted model."""
    answers, surprises = [], []
    for one in examples:
        scores, none = forward(weights, one.inputs)
        shares, rest = softmax_with_none(scores / weights.shape.temperature, none)
        believed = float(shares[list(one.roots)].sum()) if one.roots else rest
        surprises.append(-math.log(max(believed, 1e-12)))
        answers.append(scores)
    top1, average5, n = _hits(answers, examples)
    return Score(top1, average5, float(np.mean(surprises)) if surprises else None, n)


def scores_of_rules(examples: Sequence[Example]) -> dict[str, Score]:
    """Score what needs no learning: chance, the worst signal (n-sigma), and traversal of the dependencies."""
    rules = {"random": _by_chance, "nsigma": _by_worst, "traversal": _by_traversal}
    found = {}
    for name, rule in rules.items():
        top1, average5, n = _hits([rule(one.inputs) for one in examples], examples)
        found[name] = Score(top1, average5, None, n)
    return found


def _hits(answers: Sequence[FloatArray], examples: Sequence[Example]) -> tuple[float, float, int]:
    seen = [(scores, one.roots) for scores, one in zip(answers, examples, strict=True) if one.roots]
    if not seen:
        return 0.0, 0.0, 0
    first = float(np.mean([hit(scores, roots, top=1) for scores, roots in seen]))
    return first, float(np.mean([average_at(scores, roots) for scores, roots in seen])), len(seen)


def _by_chance(inputs: GraphInputs) -> FloatArray:
    return np.zeros(len(inputs.features))


def _by_worst(inputs: GraphInputs) -> FloatArray:
    worst: FloatArray = inputs.features[:, COLUMNS.index("worst")]
    return worst


def _by_traversal(inputs: GraphInputs) -> FloatArray:
    """Prefer what strays while nothing that it depends on does (PetShop's baseline); equals by the worst signal."""
    worst = _by_worst(inputs)
    straying = worst >= STRAYS
    return unexplained_first(worst, straying, straying, inputs.edges)
