"""Conservation of packets: what one end sent and the other did not receive, though the ends are read at other times.

Arrays only; knows no mesh. A plain difference of two windows would take a burst that starts between the two reading
instants for a loss. So both cumulative counters are interpolated to common instants, and beside the deficit stands
its doubt: how far the interpolation can be off, given how unsteady the sender was around that instant.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from models.history import Counter, FloatArray

# Spread of a Poisson count interpolated inside its interval, sqrt(n f (1-f)); one and a half of it covers 87 %.
_POISSON_FACTOR = 1.5
# Intervals before an instant that show whether the sender was steady there.
_NEAR = 2


@dataclass(frozen=True, eq=False)
class Deficits:
    """What went missing up to a common instant, accumulated over several windows that end there.

    Attributes:
        until: POSIX seconds, the common instant.
        windows: (w,) lengths in seconds, as far as both counters reach back.
        sent: (w, channels) packets the sender counted.
        lost: (w, channels) packets the receiver did not count; negative where it counted more.
        counters: Of the sender and the receiver.
        jitter_seconds: How far a stamp may lie from the instant its counter was read.
    """

    until: float
    windows: FloatArray
    sent: FloatArray
    lost: FloatArray
    counters: tuple[Counter, Counter]
    jitter_seconds: float

    @cached_property
    def doubt(self) -> FloatArray:
        """(w, channels) how much of `lost` the unequal reading times could explain, >= 0. Asked of few links."""
        starts = self.until - self.windows
        # Each window's both ends are as doubtful as its least steady moment.
        unsteadiness = _unsteadiness(*self.counters, starts)
        doubt = 2 * self.jitter_seconds * unsteadiness
        for counter in self.counters:
            for end in (starts, np.full_like(starts, self.until)):
                doubt += _interpolation_doubt(counter, end, unsteadiness)
        steady_rate = self.sent / self.windows[:, None]
        return np.asarray(doubt + self.jitter_seconds * steady_rate, dtype=np.float64)


def at_times(counter: Counter, times: FloatArray) -> FloatArray:
    """Interpolate a counter linearly: (w,) instants -> (w, channels) packets; outside, the nearest reading."""
    place = np.clip(np.searchsorted(counter.times, times, side="right") - 1, 0, len(counter.times) - 2)
    start, end = counter.times[place], counter.times[place + 1]
    share = np.clip((times - start) / (end - start), 0.0, 1.0)[:, None]
    low, high = counter.values[place], counter.values[place + 1]
    return np.asarray(low + share * (high - low), dtype=np.float64)


def _extremes(counter: Counter, times: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the least and the greatest rate from just before each instant until now: (w, channels) packets/s."""
    rates = np.diff(counter.values, axis=0) / np.diff(counter.times)[:, None]
    place = np.clip(np.searchsorted(counter.times, times, side="right") - 1 - _NEAR, 0, max(0, len(rates) - _NEAR))
    low = np.minimum.accumulate(rates[::-1])[::-1]
    high = np.maximum.accumulate(rates[::-1])[::-1]
    return low[place], high[place]


def _unsteadiness(sender: Counter, receiver: Counter, times: FloatArray) -> FloatArray:
    """Return (w, channels) packets a second: how unevenly packets came since each instant.

    Until now and not only around the instant, because bursts shorter than an interval move from one interval to the
    next when the phase of the readings moves, and leave a difference that stays. Seen at the receiver such a burst
    is faster than the sender ever was; a loss never is, so it adds no doubt about itself.
    """
    low, high = _extremes(sender, times)
    _, come = _extremes(receiver, times)
    return np.asarray(high - low + np.maximum(0.0, come - high), dtype=np.float64)


def _interpolation_doubt(counter: Counter, times: FloatArray, unsteadiness: FloatArray) -> FloatArray:
    place = np.clip(np.searchsorted(counter.times, times, side="right") - 1, 0, len(counter.times) - 2)
    start, end = counter.times[place], counter.times[place + 1]
    length = (end - start)[:, None]
    share = np.clip((times - start) / (end - start), 0.0, 1.0)[:, None]
    packets = counter.values[place + 1] - counter.values[place]
    # Nothing can be off by more than what was counted in the interval, nor at an instant that was read.
    reach = np.where((share > 0) & (share < 1), np.maximum(share, 1 - share), 0.0)
    uneven = reach * np.minimum(packets, unsteadiness * length)
    chance = _POISSON_FACTOR * np.sqrt(packets * share * (1 - share))
    return np.asarray(np.maximum(uneven, chance), dtype=np.float64)


def deficits(sender: Counter, receiver: Counter, *, windows: FloatArray, jitter_seconds: float) -> Deficits | None:
    """Accumulate what a sender counted and a receiver did not.

    A finite CUSUM: the largest accumulated deficit over all starts is the largest over these windows, up to their
    spacing. Unlike a running sum clamped at zero, it does not turn a receiver read a little late into a later loss.

    Args:
        sender: Transmit counter of one end.
        receiver: Receive counter of the other.
        windows: (w,) seconds, rising.
        jitter_seconds: How far a stamp may lie from the instant its counter was read.

    Returns:
        Deficits up to the earlier of the two newest readings; None where the counters overlap by less than the
        shortest window.
    """
    until = float(min(sender.times[-1], receiver.times[-1]))
    reach_back = until - float(max(sender.times[0], receiver.times[0]))
    windows = windows[windows <= reach_back]
    if windows.size == 0:
        return None
    instants = np.concatenate((until - windows, [until]))
    gone, come = at_times(sender, instants), at_times(receiver, instants)
    sent = gone[-1] - gone[:-1]
    lost = sent - (come[-1] - come[:-1])
    return Deficits(until, windows, sent, lost, (sender, receiver), jitter_seconds)


def own_slack(shares: FloatArray, *, least: int, most: float) -> float:
    """Return the share of loss a link's own past excuses: median plus four robust standard deviations.

    Args:
        shares: (n,) share lost in past windows; noise makes some negative.
        least: Fewer than this many windows excuse nothing.
        most: Never more than this.

    Source: Iglewicz and Hoaglin (1993), factor 1.4826 makes the MAD a standard deviation.
    """
    if shares.size < least:
        return 0.0
    median = float(np.median(shares))
    spread = 1.4826 * float(np.median(np.abs(shares - median)))
    return float(np.clip(median + 4 * spread, 0.0, most))
