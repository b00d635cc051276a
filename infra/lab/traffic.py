"""What the outside prober measured, and what it means: loss, outage, recovery. The analysis is pure.

A window of one second is *clean* when every request sent in it was answered. The *outage* of a fault is the time from
the fault to the start of the first clean second after the first request lost since the fault; zero when none was lost.
Without a clean second before the cap the flow never recovered and its outage is the cap. With several flows the mesh
has recovered when all of them have.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.errors import SourceUnavailable

SOURCE_PORT = 9100  # the first flow's; the next ones count up
TARGET_PORT = 9000
CLEAN_SECONDS = 1.0
FIRST_LINE_SECONDS = 10.0  # a busy machine takes a while to start an interpreter
STOP_SECONDS = 10.0  # the prober waits a second for its last answers


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `at` in monotonic seconds of this machine; `rtt_ms` None when no answer came in time."""

    flow: int
    number: int
    at: float
    arrived: bool
    rtt_ms: float | None

    @property
    def is_answered(self) -> bool:
        """Whether the answer came in time."""
        return self.rtt_ms is not None


@dataclass(frozen=True, slots=True)
class Recording:
    """Everything measured, in order of sending.

    Attributes:
        wall_minus_monotonic: Added to a monotonic instant it gives seconds since 1970.
        requests: In order of `at`.
    """

    wall_minus_monotonic: float
    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class Effect:
    """What one fault did to the traffic.

    Attributes:
        outage_s: As the module says; the cap when it never recovered.
        never_recovered: Whether no clean second came before the cap.
        loss_before: Share of requests unanswered before the fault, 0..1; None when none was sent.
        loss_during: The same from the fault to the recovery.
        loss_after: The same from the recovery to the end.
    """

    outage_s: float
    never_recovered: bool
    loss_before: float | None
    loss_during: float | None
    loss_after: float | None


def read(path: Path) -> Recording:
    """Return a recording; a last line that is still being written is left out.

    Raises:
        SourceUnavailable: the prober has written nothing yet.
    """
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    whole = [json.loads(line) for line in lines if line.endswith("\n")]
    if not whole:
        raise SourceUnavailable("the outside prober", f"{path} is empty")
    head, *rows = whole
    requests = sorted((Request(**row) for row in rows), key=lambda one: one.at)
    return Recording(wall_minus_monotonic=head["wall"] - head["monotonic"], requests=tuple(requests))


def loss(requests: Sequence[Request]) -> float | None:
    """Return the share of requests that were not answered, 0..1; None of none."""
    if not requests:
        return None
    return sum(not one.is_answered for one in requests) / len(requests)


def outage_s(requests: Sequence[Request], fault_at: float, *, until: float) -> float | None:
    """Return the outage as the module defines it; None when no second that ended by `until` was clean.

    Args:
        requests: Of all flows, in order of `at`.
        fault_at: Monotonic seconds.
        until: Monotonic seconds; nothing sent later is looked at.
    """
    lost = [one.at for one in requests if fault_at <= one.at < until and not one.is_answered]
    if not lost:
        return 0.0
    for index, gone in enumerate(lost):
        ends = lost[index + 1] if index + 1 < len(lost) else until
        if ends - gone >= CLEAN_SECONDS:
            return gone - fault_at
    return None


def effect(recording: Recording, fault_at: float, *, cap_s: float) -> Effect:
    """Judge what a fault at this monotonic instant did; the recording is cut at `cap_s` after it."""
    requests = recording.requests
    end = fault_at + cap_s
    if requests:
        end = min(end, requests[-1].at)
    outage = outage_s(requests, fault_at, until=end)
    recovered_at = end if outage is None else fault_at + outage
    return Effect(
        outage_s=cap_s if outage is None else outage,
        never_recovered=outage is None,
        loss_before=loss([one for one in requests if one.at < fault_at]),
        loss_during=loss([one for one in requests if fault_at <= one.at <= recovered_at]),
        loss_after=loss([one for one in requests if recovered_at < one.at < end]),
    )


@dataclass(slots=True)
class Traffic:
    """The outside prober's process, as seen by who runs it.

    Attributes:
        namespaces: Of source and target.
        addresses: Loopbacks of source and target.
        pps: Requests a second in each flow.
        size: Bytes of each IP packet.
        flows: How many, told apart by their source port.
        path: Where it writes.
    """

    namespaces: tuple[str, str]
    addresses: tuple[str, str]
    pps: float
    size: int
    flows: int
    path: Path
    _process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it sends.

        Raises:
            SourceUnavailable: it did not begin.
        """
        ends = zip(("source", "target"), self.namespaces, self.addresses, strict=True)
        places = [item for end, ns, address in ends for item in (f"--{end}-namespace", ns, f"--{end}", address)]
        shape = ["--pps", str(self.pps), "--size", str(self.size), "--flows", str(self.flows)]
        command = [sys.executable, "-m", "infra.lab.echo", *places, *shape, "--out", str(self.path)]
        # A group of its own: Ctrl-C ends the trial, and the trial ends the prober after its last answers.
        self._process = await asyncio.create_subprocess_exec(*command, process_group=0)
        for _ in range(int(FIRST_LINE_SECONDS / 0.05)):
            if self.path.exists() and self.path.stat().st_size:
                return
            if self._process.returncode is not None:
                break
            await asyncio.sleep(0.05)
        await self.stop()
        raise SourceUnavailable("the outside prober", "it did not begin to send")

    async def stop(self) -> None:
        """Stop it after its last answers; safe to call twice."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
