"""What to expect of a remedy: the catalogue's order as a prior, corrected by verified counts."""

from __future__ import annotations

from models.remedy import Prior

# Beta pseudo-counts by place in the catalogue: first choice, second, any later.
_BY_PLACE = ((8.0, 2.0), (4.0, 2.0), (2.0, 2.0))


def expected_success(place: int, counts: Prior) -> float:
    """Return the posterior mean of a remedy's success, 0..1.

    Args:
        place: Its place in the catalogue's list for the cause, from 0.
        counts: What was verified so far.

    Source: Beta-Bernoulli; the mean, not a sample, because nothing is explored on a living mesh.
    """
    worked, failed = _BY_PLACE[min(place, len(_BY_PLACE) - 1)]
    return (worked + counts.fixed) / (worked + failed + counts.fixed + counts.failed)
