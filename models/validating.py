"""Offline validation: is the declared graph what the past says, and whose mechanism changed? With dowhy, in seconds.

Nothing on the way of a heal may call this: dowhy takes seconds to import and as long again to answer. What it answers
is kept with the incident (`models.validation`), and nobody acts by it.

- The graph: `dowhy.gcm.falsify` counts the independences that the graph promises and the past breaks, and compares
  with the same graph whose elements were shuffled (Eulig et al., 2023). Its tests are ours, see `_independent`.
- A dependency: the same test between its two ends, given what else the element depends on.
- The change: `models.attributing`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from models.attributing import attributed
from models.signals import NEEDED_ROWS
from models.snapshot import FloatArray, Snapshot
from models.surroundings import Part, digraph, in_text, part_of, place_of, quiet_and_seeded
from models.validation import EdgeCheck, GraphCheck, Standing, Validation, Violation

# A partial correlation of .3 is seen four times of five from here on (Fisher's z, 5 %): below, silence proves nothing.
ENOUGH_ROWS = 85
SIGNIFICANT = 0.05
# With 20 permutations, the least that 5 % can be told by, one lucky graph decides.
SHUFFLED = 60
_WORST_SHOWN = 5


def validate(
    snapshot: Snapshot, *, around: Sequence[str] = (), seed: int, is_over: Callable[[], bool] = lambda: False
) -> Validation:
    """Test a snapshot's dependencies against its past, and attribute its change.

    Args:
        snapshot: With a past.
        around: Elements to look at first; the snapshot's target and the three likeliest roots are always among them.
        seed: The same gives the same.
        is_over: Asked between steps; once it says so, what is left is not done, and the answer says what that is.

    Raises:
        NotEnoughHistory: the past is too short to say what is normal.
        ToolMissing: dowhy is not installed.
    """
    part = part_of(snapshot, around)
    with quiet_and_seeded(seed):
        import dowhy  # noqa: PLC0415 - the extra `learning`, seconds of import

        graph, edges, undone = _checked(part, is_over)
        attribution, left = attributed(part, is_over, np.random.default_rng(seed))
    standing = Standing.UNTOLD
    if Standing.DOUBTFUL in (graph.standing, *(one.standing for one in edges)):
        standing = Standing.DOUBTFUL
    elif graph.standing is Standing.KEPT:
        standing = Standing.KEPT
    return Validation(
        standing=standing,
        graph=graph,
        edges=edges,
        attribution=attribution,
        signals=part.signals,
        left_out=part.left_out,
        rows=len(part.past),
        seed=seed,
        versions={"dowhy": str(dowhy.__version__), "numpy": np.__version__},
        cut_short=", ".join(one for one in (undone, left) if one),
    )


# --- the graph


def _checked(part: Part, is_over: Callable[[], bool]) -> tuple[GraphCheck, tuple[EdgeCheck, ...], str]:
    why = _untestable(part)
    if why or is_over():
        why = why or "the time budget was spent"
        edges = tuple(EdgeCheck(part.names[j], part.names[i], None, Standing.UNTOLD, why) for i, j in part.edges)
        return GraphCheck(Standing.UNTOLD, 0, 0, (), None, None, 0, why), edges, "the graph" if is_over() else ""
    from dowhy.gcm import falsify  # noqa: PLC0415 - the extra `learning`

    found = falsify.falsify_graph(
        *in_text(part),
        suggestions=True,
        independence_test=_independent,
        conditional_independence_test=_independent,
        n_permutations=SHUFFLED,
        n_jobs=1,
        show_progress_bar=False,
    )
    says = falsify.FalsifyConst
    minimal = found.suggestions[says.VALIDATE_CM][says.P_VALUES]
    p_values = {(place_of(cause), place_of(element)): float(p) for (element, cause, _), (p, _) in minimal.items()}
    edges = tuple(_edge(part, i, j, p_values[i, j]) for i, j in part.edges)
    return _graph(part, found, says), edges, ""


def _untestable(part: Part) -> str:
    import networkx as nx  # noqa: PLC0415 - offline only

    if len(part.past) < NEEDED_ROWS:
        return f"{len(part.past)} rows of the past have every signal, {NEEDED_ROWS} are needed"
    if not part.edges:
        return "no dependency joins elements whose signals moved"
    if not nx.is_directed_acyclic_graph(digraph(part)):
        return "the dependencies form a circle, of which none can be told to be first"
    return ""


def _edge(part: Part, cause: int, element: int, p: float) -> EdgeCheck:
    names, rows = part.names, len(part.past)
    if p <= SIGNIFICANT:
        return EdgeCheck(names[element], names[cause], p, Standing.KEPT, "they moved together in the past")
    if rows < ENOUGH_ROWS:
        why = f"they did not move together, but {rows} rows are few: {ENOUGH_ROWS} would show a correlation of .3"
        return EdgeCheck(names[element], names[cause], p, Standing.UNTOLD, why)
    return EdgeCheck(names[element], names[cause], p, Standing.DOUBTFUL, f"they did not move together in {rows} rows")


def _graph(part: Part, found: Any, says: Any) -> GraphCheck:
    if not found.can_evaluate:
        return GraphCheck(Standing.UNTOLD, 0, 0, (), None, None, 0, "the graph promises no independence to test")
    markov, same = found.summary[says.VALIDATE_LMC], found.summary[says.VALIDATE_TPA]
    broken = sorted(
        (float(p), place_of(element), place_of(other))
        for (element, other), (p, is_broken) in markov[says.LOCAL_VIOLATION_INSIGHT].items()
        if is_broken
    )
    worst = tuple(Violation(part.names[i], part.names[j], p) for p, i, j in broken[:_WORST_SHOWN])
    fits, informative = float(markov[says.P_VALUE]), float(same[says.P_VALUE])
    tests, violations = int(markov[says.N_TESTS]), int(markov[says.GIVEN_VIOLATIONS])
    # Of so many tests some are broken by chance alone (Bonferroni): in a calm past every graph is as good as another.
    if found.falsified and not (broken and broken[0][0] <= SIGNIFICANT / tests):
        why = "the past breaks its promises no more clearly than chance does, and those of shuffled graphs no more"
        standing = Standing.UNTOLD
    elif found.falsified:
        standing, why = Standing.DOUBTFUL, f"{fits:.0%} of {SHUFFLED} shuffled graphs fit the past as well"
    elif found.falsifiable:
        standing, why = Standing.KEPT, f"only {fits:.0%} of {SHUFFLED} shuffled graphs fit the past as well"
    else:
        standing = Standing.UNTOLD
        why = f"{informative:.0%} of {SHUFFLED} shuffled graphs promise the same, so the past cannot choose"
    return GraphCheck(standing, tests, violations, worst, fits, informative, SHUFFLED, why)


def _independent(one: Any, other: Any, given: Any = None) -> float:
    """Return P(so much partial rank correlation | independent), for columns of equal length.

    Ranks, because counters have heavy tails. Rows that resemble the row before count for less than one: their number is
    corrected by the first autocorrelation of both (Bartlett), without which a slow drift makes friends of everything.
    """
    ranks = [_ranked(np.asarray(each, dtype=np.float64)) for each in (one, other)]
    by = (
        np.ones((len(ranks[0]), 1)) if given is None else np.column_stack([np.ones(len(ranks[0])), _ranked_each(given)])
    )
    left = [each - by @ np.linalg.lstsq(by, each, rcond=None)[0] for each in ranks]
    sizes = [float(each @ each) for each in left]
    # Nothing is left of what the others tell wholly; a rest below rounding is none.
    if min(sizes) <= 1e-9 * len(left[0]) ** 3:
        return 1.0
    together = float(left[0] @ left[1]) / math.sqrt(sizes[0] * sizes[1])
    lasting = math.prod(max(float(each[1:] @ each[:-1]) / size, 0.0) for each, size in zip(left, sizes, strict=True))
    rows = len(left[0]) * (1 - lasting) / (1 + lasting) - by.shape[1] - 2
    if rows < 1:
        return 1.0
    z = math.atanh(min(abs(together), 1 - 1e-12)) * math.sqrt(rows)
    return math.erfc(z / math.sqrt(2))


def _ranked_each(given: Any) -> FloatArray:
    """Return the ranks of each column, in an order of their content: dowhy hands them over in one of chance."""
    columns = np.asarray(given, dtype=np.float64).reshape(len(given), -1)
    ranks = np.stack([_ranked(column) for column in columns.T], axis=1)
    return np.asarray(ranks[:, np.lexsort(ranks)])


def _ranked(column: FloatArray) -> FloatArray:
    """Return ranks from 0, equals sharing their mean; a column of one dimension more is flattened."""
    _, inverse, counts = np.unique(column.ravel(), return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts + 1) / 2)[inverse], dtype=np.float64)
