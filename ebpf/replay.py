"""Recorded map dumps: what the kernel's maps held, kept in a file, and read again where there is no kernel.

A file is JSON lines. The first says what follows; each further one is one reading of every interface:

    {"format": "x0tta6bl4-map-dumps", "version": 1, "entries": 90, "missing": []}
    {"at": "2026-11-22T19:00:00Z", "interfaces": [{"name": "eth0", "has_carrier": true, "carrier_changes": 1,
     "mtu": 1500, "traffic": [[12, 3, 4500], ...]}]}

`traffic` holds the rows of tc_classifier's map that are not empty: index, packets, bytes, summed over the CPUs. A line
may have `tracing`, too: what the tracing programs' maps held (`ebpf/replay_tracing.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, TextIO, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from ebpf.layout import ROWS, decode
from ebpf.replay_tracing import ReplayedTracing, TracedSignals, TracingDump, dumped
from models.errors import ConfigurationInvalid
from models.ports import Clock, InterfaceCounters
from models.telemetry import InterfaceReading, TrafficCount

# A row holds 64-bit counters: packets, bytes.
_WORDS = 2
_Row = Annotated[int, Field(ge=0, lt=len(ROWS))]
_Counter = Annotated[int, Field(ge=0, lt=2**64)]
_ROW_OF = {kind: row for row, kind in enumerate(ROWS)}
_STRICT = ConfigDict(frozen=True, extra="forbid")
_MEND = "give a file that `x0tta6bl4 ebpf record` wrote"
_Line = TypeVar("_Line", bound=BaseModel)


class Head(BaseModel):
    """The first line.

    Attributes:
        format: What this is.
        version: Counts up when an old reader would read it wrongly.
        entries: Rows of the map; a program with another layout had another number of them.
        missing: What the recording node could not measure.
    """

    model_config = _STRICT

    format: Literal["x0tta6bl4-map-dumps"] = "x0tta6bl4-map-dumps"
    version: Literal[1] = 1
    entries: Literal[90] = 90
    missing: tuple[str, ...] = ()


class InterfaceDump(BaseModel):
    """One interface's map at one instant, and the state of its link."""

    model_config = _STRICT

    name: str
    has_carrier: bool
    carrier_changes: NonNegativeInt
    mtu: NonNegativeInt
    traffic: tuple[tuple[_Row, _Counter, _Counter], ...]


class Dump(BaseModel):
    """Every interface at one instant, and what was traced if anything was."""

    model_config = _STRICT

    at: AwareDatetime
    interfaces: tuple[InterfaceDump, ...] = Field(description="In name order.")
    tracing: TracingDump | None = None


def encode(counts: tuple[TrafficCount, ...]) -> NDArray[np.uint64]:
    """Turn counts back into a map's sums: the inverse of `ebpf.layout.decode`.

    Returns:
        (90, 2) packets and bytes, in the order of `ROWS`.
    """
    sums = np.zeros((len(ROWS), _WORDS), dtype=np.uint64)
    for one in counts:
        sums[_ROW_OF[one.direction, one.traffic, one.size, one.protocol]] = one.packets, one.bytes
    return sums


class Recorder:
    """Counters that write down what they read. Implements `models.ports.InterfaceCounters`.

    Args:
        counters: What is read; closed together with this object.
        file: Where the lines go; not closed.
        clock: Dates each reading.
        tracing: Is written down beside them; None: nothing is. Not closed.
    """

    def __init__(
        self, counters: InterfaceCounters, file: TextIO, *, clock: Clock, tracing: TracedSignals | None = None
    ) -> None:
        self._counters, self._file, self._clock, self._tracing = counters, file, clock, tracing
        self._write(Head(missing=tuple(sorted(counters.missing()))))

    def read(self) -> tuple[InterfaceReading, ...]:
        """Read all interfaces, in name order, and write the reading down."""
        readings = self._counters.read()
        traced = None if self._tracing is None else dumped(self._tracing)
        self._write(Dump(at=self._clock.now(), interfaces=tuple(_dumped(one) for one in readings), tracing=traced))
        return readings

    def missing(self) -> frozenset[str]:
        """Name what the counters cannot measure."""
        return self._counters.missing()

    def close(self) -> None:
        """Close the counters. Safe to call twice."""
        self._counters.close()

    def _write(self, line: Head | Dump) -> None:
        # Whole lines only: a recording that was cut off is read up to its last whole line's end.
        self._file.write(line.model_dump_json(exclude_none=True) + "\n")
        self._file.flush()


class ReplayedInterfaceCounters:
    """Counters that read a recording. Implements `models.ports.InterfaceCounters`.

    Each `read` is the next dump; after the last one it stays at that.

    Args:
        path: A file that `Recorder` wrote.

    Raises:
        ConfigurationInvalid: it cannot be read, is no recording, or holds no dump.
    """

    def __init__(self, path: Path) -> None:
        self._head, self._dumps = _read(path)
        self._next = 0
        self._is_open = True

    def read(self) -> tuple[InterfaceReading, ...]:
        """Return the next dump, decoded as a map would be."""
        if not self._is_open:
            return ()
        dump = self._dumps[self._next]
        self._next = min(self._next + 1, len(self._dumps) - 1)
        return tuple(_reading(one) for one in dump.interfaces)

    def dumps(self) -> Iterator[Dump]:
        """Go through all dumps, with their instants, wherever `read` is."""
        return iter(self._dumps)

    def missing(self) -> frozenset[str]:
        """Name what the recording node could not measure."""
        return frozenset(self._head.missing)

    def close(self) -> None:
        """Read nothing any more. Safe to call twice."""
        self._is_open = False


def replayed_tracing(path: Path) -> ReplayedTracing | None:
    """Return the tracing signals of a recording; None when it has none.

    Raises:
        ConfigurationInvalid: as for `ReplayedInterfaceCounters`.
    """
    _, dumps = _read(path)
    found = [one.tracing for one in dumps if one.tracing is not None]
    return ReplayedTracing(found) if found else None


def _dumped(reading: InterfaceReading) -> InterfaceDump:
    sums = encode(reading.counts)
    rows = np.flatnonzero(sums[:, 0]).tolist()
    return InterfaceDump(
        name=reading.name,
        has_carrier=reading.has_carrier,
        carrier_changes=reading.carrier_changes,
        mtu=reading.mtu,
        traffic=tuple((row, int(sums[row, 0]), int(sums[row, 1])) for row in rows),
    )


def _reading(dump: InterfaceDump) -> InterfaceReading:
    sums = np.zeros((len(ROWS), _WORDS), dtype=np.uint64)
    for row, packets, size in dump.traffic:
        sums[row] = packets, size
    return InterfaceReading(
        name=dump.name,
        has_carrier=dump.has_carrier,
        carrier_changes=dump.carrier_changes,
        mtu=dump.mtu,
        counts=decode(sums),
    )


def _read(path: Path) -> tuple[Head, tuple[Dump, ...]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationInvalid(f"{path} cannot be read: {error}", _MEND) from error
    head = _parsed(Head, lines[0] if lines else "", where=f"{path}, line 1")
    dumps = [_parsed(Dump, line, where=f"{path}, line {number}") for number, line in enumerate(lines[1:], start=2)]
    if not dumps:
        raise ConfigurationInvalid(f"{path} holds no dump", _MEND)
    return head, tuple(dumps)


def _parsed(kind: type[_Line], line: str, *, where: str) -> _Line:
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(one) for one in first["loc"])
        raise ConfigurationInvalid(f"{where}: {field} {first['msg']}", _MEND) from error
