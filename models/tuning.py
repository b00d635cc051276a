"""How sharply the detector looks. Every number has its reason beside it; the lab's runs are what may change them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from models.columns import FloatArray


@dataclass(frozen=True)
class Tuning:
    """The detector's constants, for two samples a second.

    Attributes:
        keep_seconds: How far back counters are kept: enough for a link's own past and for verification's "before".
        windows: Seconds over which a deficit is accumulated; short ones see sharp faults, long ones weak ones;
            dense where the onset decides what a view shows as dead.
        min_lost: Packets certainly missing before a deficit may alarm: four or five cannot be one unlucky packet.
        min_share: Share lost that is worth a symptom on a link whose own past is clean.
        share_over_past: How far a share must lie above the link's own slack.
        max_slack: A link's own past may excuse at most this share.
        jitter_seconds: How far a sample's stamp may lie from the instant its counters were read (seen: a few ms idle,
            20 ms on a shared busy core).
        min_samples: A node with fewer samples than this raises no loss symptom.
        persistence: Evaluations of fresh samples in a row that must agree.
        fresh_seconds: Evidence older than this is no evidence.
        unheard_seconds: A collector that is this late on a calm host has stopped, and answers no probes either.
        probe_lost: Unanswered probes before probe loss may alarm.
        probe_surprise: Largest probability, under the link's own past, of as many unanswered probes by chance.
        probe_timeout: When an unanswered probe counts as lost; a judgement after acting starts this much later.
        probe_timeout_busy: The same where the host is as busy as can be: until then after a collector began to answer,
            probes are judged that were sent before.
        pressure_calm: PSI share below which a host counts as calm.
        pressure_full: PSI share at which patience is greatest.
        max_patience: The greatest patience factor.
        interval_seconds: Time between two samples of a node.
        hold_seconds: A link whose control traffic was not seen yet waits this long: grey and black look alike.
        dead_hold_seconds: A link that may be dead waits this long, so that a dead node's other links show too; routing
            with hellos of a second is about to mend it, and acting sooner would win nothing.
    """

    keep_seconds: float = 60.0
    windows: tuple[float, ...] = (
        *(0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5, 1.75, 2.0, 2.25, 2.5, 3.0),
        *(3.5, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 16.0),
    )
    min_lost: float = 4.0
    min_share: float = 0.06
    share_over_past: float = 0.04
    max_slack: float = 0.15
    jitter_seconds: float = 0.02
    min_samples: int = 10
    persistence: int = 2
    fresh_seconds: float = 3.0
    unheard_seconds: float = 1.5
    probe_lost: int = 3
    probe_surprise: float = 1e-5
    probe_timeout: float = 0.8
    probe_timeout_busy: float = 4.0
    pressure_calm: float = 0.3
    pressure_full: float = 0.9
    max_patience: float = 4.0
    hold_seconds: float = 1.2
    dead_hold_seconds: float = 2.5
    interval_seconds: float = 0.5

    @cached_property
    def window_lengths(self) -> FloatArray:
        """(w,) seconds, rising."""
        return np.array(self.windows)

    @cached_property
    def probe_windows(self) -> FloatArray:
        """Those that hold a few probes of each kind."""
        return self.window_lengths[self.window_lengths >= 1.0]
