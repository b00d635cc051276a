"""Incidents made up from a declared model, to learn from where no real ones are at hand. Everything here is invented.

What is declared (docs/learning.md says where it falls short of the world):

- `models.simulation_calls`: a random call graph under shared load. Latency adds up along calls, errors pass on with
  some probability, requests thin out behind what fails.
- `models.simulation_mesh`: a random mesh. A link harms the nodes at its ends, a node harms all its links.
- Here: what is common to both. A fault has a strength drawn log-uniformly from barely visible to gross, a shape in
  time (step, ramp, late start, early end), and sometimes no element at all (load from outside, or nothing). Readings
  get noise with heavy tails, quantization, gaps, absent signals, and harmless changes elsewhere.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from models.snapshot import Case, FloatArray, IntArray, Kind, SignalKind, SignalSpec, Snapshot

Rng = np.random.Generator
BoolArray = npt.NDArray[np.bool_]

MESH_SHARE = 0.4
TWO_ROOTS_SHARE = 0.10
NO_ROOT_SHARE = 0.14
# Shares of cases; real systems have all of these, none of them always.
TARGET_KNOWN = 0.6
TRIGGER_KNOWN = 0.3
GAPPY = 0.5
DISTRACTED = 0.5
ALERTS_ONLY = 0.15
HIDDEN_ROOT = 0.03


@dataclass(frozen=True, slots=True, eq=False)
class Clean:
    """What a simulated system would show without sensors: to be spoiled by `observed`.

    Attributes:
        elements: N kinds.
        edges: (E, 2): i depends on j.
        signals: S.
        values: (T, N, S); NaN where an element has no such signal.
        split: First row of the fault.
        roots: Indices of the elements at fault.
        fault: Its kind; "none" without one.
        target: Where a person or an alarm would see it; None: nowhere.
    """

    elements: tuple[Kind, ...]
    edges: IntArray
    signals: tuple[SignalSpec, ...]
    values: FloatArray
    split: int
    roots: tuple[int, ...]
    fault: str
    target: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Timing:
    """Rows of one case, and how strongly its fault acts in each."""

    rows: int
    split: int
    strength: FloatArray


def timing(rng: Rng) -> Timing:
    """Draw how long the past and the incident are, and the fault's shape in time: (rows,) 0..1."""
    past, incident = int(rng.integers(20, 121)), int(rng.integers(3, 31))
    strength = np.zeros(past + incident)
    shape = rng.choice(["step", "ramp", "late", "early end"], p=[0.55, 0.2, 0.15, 0.1])
    body = np.ones(incident)
    if shape == "ramp":
        body = np.linspace(0.3, 1.0, incident)
    elif shape == "late":
        body[: incident // 3] = 0.0
    elif shape == "early end":
        body[-(incident // 3) or None :] = 0.0
        body[0] = 1.0
    strength[past:] = body
    return Timing(past + incident, past, strength)


def delayed(strength: FloatArray, rows: int) -> FloatArray:
    """Return the strength as it arrives `rows` rows later."""
    return np.concatenate([np.zeros(rows), strength[: len(strength) - rows]])


def happens(rng: Rng, share: float) -> bool:
    """Say yes in that share of cases."""
    return bool(rng.random() < share)


def some(rng: Rng, share: float, size: int | tuple[int, ...]) -> BoolArray:
    """Say yes in that share of places."""
    chosen: BoolArray = rng.random(size) < share
    return chosen


def gross_or_subtle(rng: Rng, least: float, most: float) -> float:
    """Draw log-uniformly between two sizes."""
    return float(np.exp(rng.uniform(np.log(least), np.log(most))))


def wander(rng: Rng, rows: int, width: int, *, memory: float, sway: float) -> FloatArray:
    """Return (rows, width) first-order autoregressions around 0 with standard deviation `sway`."""
    steps = rng.normal(0.0, sway * np.sqrt(1 - memory**2), size=(rows, width))
    path = np.empty_like(steps)
    path[0] = rng.normal(0.0, sway, size=width)
    for row in range(1, rows):
        path[row] = memory * path[row - 1] + steps[row]
    return path


def observed(clean: Clean, *, name: str, rng: Rng) -> Case:
    """Put sensors between a clean system and the snapshot: noise, steps, gaps, absences, harmless changes elsewhere."""
    values = clean.values.copy()
    if happens(rng, DISTRACTED):
        _distract(values, clean, rng)
    noise = gross_or_subtle(rng, 0.005, 0.08)
    heavy = rng.standard_t(3.0, size=values.shape) if happens(rng, 0.5) else rng.normal(size=values.shape)
    values *= np.exp(noise * np.clip(heavy, -6, 6))
    if happens(rng, 0.3):
        # A counter in whole steps, as coarse as a twentieth of what is usual.
        step = np.nanmedian(np.abs(values), axis=(0, 1)) / 20
        values = np.where(step > 0, np.round(values / np.where(step > 0, step, 1.0)) * step, values)
    if happens(rng, GAPPY):
        values[rng.random(values.shape) < rng.uniform(0.0, 0.15)] = np.nan
    # Some elements lack a signal that others of their kind have. A root may be among them, but rarely is: a model that
    # sees many hidden roots suspects every element that is silent beside one that strays.
    absent = some(rng, float(rng.uniform(0.0, 0.25)), values.shape[1:])
    if not happens(rng, HIDDEN_ROOT):
        absent[list(clean.roots)] = False
    values[:, absent] = np.nan
    # A unit and a zero of its own for every signal: a model that cares for either learns nothing.
    values *= np.exp(rng.uniform(-5, 5, size=len(clean.signals)))
    order = rng.permutation(len(clean.elements))
    places = np.argsort(order)
    keep = np.sort(_kept(len(clean.signals), rng))
    target = None if clean.target is None or not happens(rng, TARGET_KNOWN) else int(places[clean.target])
    incident = values.shape[0] - clean.split
    trigger = clean.split + int(rng.integers(0, incident)) if happens(rng, TRIGGER_KNOWN) else None
    ids = tuple(f"e{place}" for place in range(len(order)))
    snapshot = Snapshot(
        elements=ids,
        kinds=tuple(clean.elements[one] for one in order),
        edges=places[clean.edges],
        signals=tuple(clean.signals[one] for one in keep),
        times=np.arange(values.shape[0], dtype=np.float64),
        values=np.ascontiguousarray(values[:, order][:, :, keep]),
        split=clean.split,
        target=target,
        trigger=trigger,
    )
    roots = tuple(ids[places[one]] for one in clean.roots)
    return Case(name=name, snapshot=snapshot, roots=roots, fault=clean.fault, side="train", group=name)


def simulated(count: int, *, seed: int) -> Iterator[Case]:
    """Yield labelled incidents; the same seed gives the same ones, and a longer run begins with a shorter one's.

    Args:
        count: How many.
        seed: Recorded with whatever is made of them.
    """
    # Here, since both build upon what stands above.
    from models.simulation_calls import call_incident  # noqa: PLC0415 - as said
    from models.simulation_mesh import mesh_incident  # noqa: PLC0415 - as said

    for number in range(count):
        rng = np.random.default_rng([seed, number])
        make = mesh_incident if happens(rng, MESH_SHARE) else call_incident
        case = observed(make(rng), name=f"simulated-{seed}-{number}", rng=rng)
        yield alerted(case, rng) if happens(rng, ALERTS_ONLY) else case


def generate_test_anomalies(count: int, *, seed: int) -> list[Case]:
    """Return labelled incidents for tests and trials; as `simulated`, all at once."""
    return list(simulated(count, seed=seed))


def alerted(case: Case, rng: Rng) -> Case:
    """Return what remains when a system hands over alerts only: counts of events, one row, no past."""
    seen = case.snapshot
    limit = rng.uniform(3.0, 6.0)
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        # An element without a signal has no median of it, and no alerts about it.
        warnings.simplefilter("ignore", RuntimeWarning)
        level = np.nanmedian(seen.past, axis=0)
        spread = np.nanmedian(np.abs(seen.past - level), axis=0) * 1.4826 + 0.02 * np.abs(level)
        beyond = np.abs(seen.now - level) > limit * spread + np.finfo(float).tiny
    counts = beyond.sum(axis=0).astype(np.float64)
    spurious = (rng.random(counts.shape) < rng.uniform(0, 0.05)) * rng.integers(1, 4, size=counts.shape)
    events = tuple(replace(spec, unit="1", worse=1, kind=SignalKind.EVENT) for spec in seen.signals)
    snapshot = replace(
        seen,
        signals=events,
        times=seen.times[-1:],
        values=(counts + spurious)[None],
        split=0,
        trigger=None,
        target_signal=None,
    )
    return replace(case, snapshot=snapshot)


def how_many_roots(rng: Rng) -> int:
    """Draw 0, 1 or 2."""
    return int(rng.choice([0, 1, 2], p=[NO_ROOT_SHARE, 1 - NO_ROOT_SHARE - TWO_ROOTS_SHARE, TWO_ROOTS_SHARE]))


def _kept(signals: int, rng: Rng) -> IntArray:
    """Choose which signals a system has at all: at least a third of those declared."""
    least = max(2, signals // 3)
    return rng.choice(signals, size=int(rng.integers(least, signals + 1)), replace=False)


def _distract(values: FloatArray, clean: Clean, rng: Rng) -> None:
    """Change a few signals of elements that have nothing to do with the fault, now or a while before."""
    innocent = [one for one in range(len(clean.elements)) if one not in clean.roots]
    for _ in range(int(rng.integers(1, 4)) if innocent else 0):
        place, column = int(rng.choice(innocent)), int(rng.integers(len(clean.signals)))
        start = int(rng.integers(0, values.shape[0]))
        end = start + int(rng.integers(1, values.shape[0] // 3 + 2))
        values[start:end, place, column] *= float(np.exp(rng.normal(0.0, 0.35)))
