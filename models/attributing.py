"""Attribution: whose own mechanism changed, seen from where an incident showed, and does that stand refutation?

`dowhy.gcm.attribute_anomalies` on linear mechanisms fitted to the past (Budhathoki et al., 2022), again on resampled
pasts for the intervals; the effect of the element it names is estimated, and dowhy tries to refute it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from models.signals import NEEDED_ROWS
from models.surroundings import Part, digraph, frame_of, in_text
from models.validation import Attribution, Effect, Refutation, Share

RESAMPLES = 20
# The score of what was never seen in 500 draws is 6 nats; more draws cost as much more.
DRAWS = 500
REFUTED_BY = 30


def attributed(part: Part, is_over: Callable[[], bool], rng: np.random.Generator) -> tuple[Attribution, str]:
    """Return whose mechanism changed, and what the time budget left undone, in words.

    Args:
        part: What is looked at; its `now` is the row explained.
        is_over: Asked before each resampled past and before the refutations.
        rng: Draws the resampled pasts; dowhy draws from the process's generators (`quiet_and_seeded`).
    """
    target = part.target
    if target is None:
        return Attribution("", (), 0, None, "the element where it showed has no signal that moved in the past"), ""
    name = part.names[target]
    why = "" if len(part.past) >= NEEDED_ROWS else f"{len(part.past)} rows of the past have every signal"
    inside = _causes_of(part, target)
    why = why or _circle_among(part, inside)
    if why:
        return Attribution(name, (), 0, None, why), ""
    drawn: list[dict[int, float]] = []
    for _ in range(RESAMPLES):
        if is_over():
            break
        rows = rng.integers(len(part.past), size=len(part.past))
        drawn.append(_shapley(part, inside, target, rows))
    if not drawn:
        return Attribution(name, (), 0, None, "the time budget was spent"), "the attribution"
    shares = sorted((_share(part.names[k], [one[k] for one in drawn]) for k in inside), key=lambda one: -one.nats)
    left = "" if len(drawn) == RESAMPLES else f"{RESAMPLES - len(drawn)} of {RESAMPLES} resampled pasts"
    best = part.names.index(shares[0].element)
    effect = None if best == target or is_over() else _effect(part, best, target)
    if best != target and effect is None:
        left = ", ".join(one for one in (left, "the refutations") if one)
    why = f"linear mechanisms fitted to {len(part.past)} rows, surprise of {name} in nats"
    return Attribution(name, tuple(shares), len(drawn), effect, why), left


def _share(name: str, values: Sequence[float]) -> Share:
    low, middle, high = np.percentile(values, [5, 50, 95]).tolist()
    return Share(name, middle, low, high)


def _causes_of(part: Part, target: int) -> list[int]:
    """Return the places of the target and of everything it depends on, ascending."""
    found = {target}
    while more := {i for i, j in part.edges if j in found} - found:
        found |= more
    return sorted(found)


def _circle_among(part: Part, inside: Sequence[int]) -> str:
    import networkx as nx  # noqa: PLC0415 - offline only

    is_clear = nx.is_directed_acyclic_graph(digraph(part).subgraph(inside))
    return "" if is_clear else "what it depends on forms a circle, so no mechanism is first"


def _shapley(part: Part, inside: Sequence[int], target: int, rows: Any) -> dict[int, float]:
    import pandas as pd  # noqa: PLC0415 - comes with the extra `learning`
    from dowhy import gcm  # noqa: PLC0415 - the extra `learning`

    model = gcm.InvertibleStructuralCausalModel(digraph(part).subgraph(inside).copy())
    for one in inside:
        has_causes = any(j == one for _, j in part.edges)
        linear = gcm.AdditiveNoiseModel(gcm.ml.create_linear_regressor()) if has_causes else None
        model.set_causal_mechanism(one, linear or gcm.EmpiricalDistribution())
    past = frame_of(part)[list(inside)].iloc[rows].reset_index(drop=True)
    gcm.fit(model, past)
    now = pd.DataFrame([part.now[list(inside)]], columns=list(inside))
    found = gcm.attribute_anomalies(model, target, now, num_distribution_samples=DRAWS)
    return {int(one): float(values[0]) for one, values in found.items()}


def _effect(part: Part, cause: int, target: int) -> Effect:
    """Estimate what one deviation of the cause does to the target in the past, and let dowhy try to refute it."""
    from dowhy import CausalModel  # noqa: PLC0415 - the extra `learning`

    graph, frame = in_text(part)
    model = CausalModel(frame, f"e{cause}", f"e{target}", graph=graph)
    sought = model.identify_effect(proceed_when_unidentifiable=True)
    # Without modifiers: by default dowhy takes every other cause for one, and estimates anew for each fifth of each of
    # them, which took minutes with a dozen elements.
    estimate = model.estimate_effect(sought, method_name="backdoor.linear_regression", effect_modifiers=[])
    attempts: dict[str, dict[str, object]] = {
        "placebo_treatment_refuter": {"placebo_type": "permute"},
        "random_common_cause": {},
        "data_subset_refuter": {"subset_fraction": 0.8},
    }
    refutations = []
    for name, more in attempts.items():
        # Without a `random_state`: of a number, the subset refuter makes the very same subset each time.
        found = model.refute_estimate(
            sought,
            estimate,
            method_name=name,
            num_simulations=REFUTED_BY,
            n_jobs=1,
            show_progress_bar=False,
            **more,
        )
        says = found.refutation_result
        refutations.append(
            Refutation(
                name,
                _rounded(found.new_effect),
                None if says is None else _rounded(says["p_value"]),
                says is not None and not says["is_statistically_significant"],
            )
        )
    return Effect(part.names[cause], part.names[target], _rounded(estimate.value), tuple(refutations))


def _rounded(value: Any) -> float:
    """Return nine digits: dowhy sums in an order of chance, and the last ones come of it."""
    return float(f"{float(value):.9g}")
