"""What the detector sees in a recording, tick by tick; kept beside it, for detecting is what takes the time.

What is kept is named by a digest of the code that detects: after a change there everything is seen anew, after a change
of the rules nothing is.
"""

from __future__ import annotations

import gzip
import hashlib
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter

from models.detection import Detector
from models.incident import Symptom
from models.telemetry import Sample
from tests.bench.diagnosis_cells import QUIET
from tests.bench.recording import SUFFIX, Recording, read
from tests.bench.report import ROOT

TICK = timedelta(seconds=0.5)
# From reading the counters to the watch's look at the store: an assumption, what a calm machine takes at most.
DELIVERY = timedelta(seconds=0.1)
# The detector says nothing of a node with fewer samples.
BEGIN = timedelta(seconds=8)
# Nobody looks earlier before a harm, detecting being what takes the time; recordings of quiet are looked at throughout.
BEFORE = timedelta(seconds=4)
DETECTION = (
    *("baselines", "conservation", "detection", "history", "incident", "linkview", "linkwatch", "mesh", "nodesigns"),
    *("patience", "telemetry", "tuning"),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """The symptoms that stood at one tick of the watch."""

    at: datetime
    symptoms: tuple[Symptom, ...]


_SEEN = TypeAdapter(tuple[Seen, ...] | None, config=ConfigDict(ser_json_inf_nan="constants"))


def arrived(waiting: deque[Sample], now: datetime) -> list[Sample]:
    """Take out of the queue what has arrived by now."""
    due: list[Sample] = []
    while waiting and waiting[0].at + DELIVERY <= now:
        due.append(waiting.popleft())
    return due


def see(recording: Recording) -> tuple[Seen, ...]:
    """Let a detector look at a recording twice a second, as the watch does."""
    detector = Detector(recording.mesh)
    waiting = deque(recording.samples)
    now, end = waiting[0].at, waiting[-1].at
    begin = now + BEGIN if recording.case == QUIET else max(now + BEGIN, recording.harms[0].at - BEFORE)
    found: list[Seen] = []
    while now < end:
        now += TICK
        detector.observe(arrived(waiting, now))
        if now >= begin:
            found.append(Seen(now, detector.symptoms(now)))
    return tuple(found)


def seen_of(path: Path) -> tuple[Recording, tuple[Seen, ...]]:
    """Return a recording and what the detector of this version sees in it, kept from before where it was."""
    recording = read(path)
    kept = path.with_name(f"{path.name.removesuffix(SUFFIX)}.{_digest()}.seen.gz")
    if kept.exists():
        found: tuple[Seen, ...] = _SEEN.validate_json(gzip.decompress(kept.read_bytes()))
        return recording, found
    found = see(recording)
    growing = kept.with_name(f"{kept.name}.new")
    # A count among float facts is written as it is and read as declared.
    growing.write_bytes(gzip.compress(_SEEN.dump_json(found, warnings="none"), compresslevel=4))
    growing.replace(kept)
    return recording, found


def _digest() -> str:
    whole = hashlib.sha256()
    for name in DETECTION:
        whole.update((ROOT / "models" / f"{name}.py").read_bytes())
    return whole.hexdigest()[:12]
