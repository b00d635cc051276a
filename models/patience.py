"""How much longer to wait before believing: a busy host must not be taken for a sick mesh.

Source: Dadgar et al. (2017), Lifeguard: local health aware failure detection.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

import numpy as np

from models.history import NodeHistory
from models.tuning import Tuning

# Samples looked at: three seconds at two a second, so that one busy moment does not swing the factor.
_RECENT = 6
# A gap of twice the usual between samples is scheduling noise; beyond it the host did not get to run.
_USUAL_GAPS = 2.0


def patience(node: NodeHistory, tuning: Tuning) -> float:
    """Return a node's patience factor, 1 (calm) to `tuning.max_patience`.

    The greater of two signs: CPU pressure (PSI), and how late its samples came of late.
    """
    recent = node.readings[-_RECENT:]
    pressures = [one.sample.host.cpu_pressure for one in recent if one.sample.host is not None]
    span = tuning.pressure_full - tuning.pressure_calm
    busy = (median(pressures) - tuning.pressure_calm) / span if pressures else 0.0
    gaps = np.diff(node.times[-10 * _RECENT :])
    late = 0.0
    if gaps.size > _RECENT:
        late = float(gaps[-_RECENT:].max() / np.median(gaps)) - _USUAL_GAPS
    return float(np.clip(1 + (tuning.max_patience - 1) * max(busy, late / 2), 1.0, tuning.max_patience))


def greatest(nodes: Iterable[NodeHistory], tuning: Tuning) -> float:
    """Return the greatest patience over several nodes; 1 when there are none."""
    return max((patience(one, tuning) for one in nodes), default=1.0)
