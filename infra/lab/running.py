"""Running a trial: lab up, traffic on, path asserted, harm done, everything measured from outside, lab down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

import structlog

from infra.lab import build, placing, traffic
from infra.lab.build import Lab
from infra.lab.faults import Harm
from infra.lab.journal import Injector
from infra.lab.paths import RoundTrip, Watch
from infra.lab.traffic import CLEAN_SECONDS, Traffic
from infra.lab.trial import FaultSpec, TrialSpec
from infra.lab.verdict import Controller, ControllerReport, TimelineEvent, TrialResult, judge, why_void
from models.mesh import NodeId
from models.ports import Clock

log = structlog.get_logger()
LOOK_SECONDS = 1.0  # how often the recording is looked at for an early end
OnEvent = Callable[[TimelineEvent], None]


async def run_trial(
    spec: TrialSpec,
    controller: Controller | None,
    *,
    lab: str,
    state: Path,
    folder: Path,
    clock: Clock,
    on_event: OnEvent | None = None,
) -> TrialResult:
    """Run one trial in a lab of its own and write `result.json`, `faults.jsonl`, `traffic.jsonl` into the folder.

    Args:
        spec: What to do.
        controller: Looks after the mesh; None shows what routing alone does.
        lab: Name of the lab to make; trials with distinct names run side by side.
        state: The installation's state folder; the lab lives below it.
        folder: Made if need be.
        clock: Tells wall time.
        on_event: Called for each event of the timeline as it happens (the controller's own come with its report).

    Raises:
        ConfigurationInvalid: the lab's name is in use, or a place does not exist.
        SourceUnavailable: routing did not settle, or the prober did not start.
    """
    made = await build.up(spec.mesh(lab), state=state, timers=spec.timers)
    try:
        return await measure(spec, controller, lab=made, folder=folder, clock=clock, on_event=on_event)
    finally:
        await made.down()


async def measure(
    spec: TrialSpec,
    controller: Controller | None,
    *,
    lab: Lab,
    folder: Path,
    clock: Clock,
    on_event: OnEvent | None = None,
) -> TrialResult:
    """Run a trial on a lab that stands already, and leave it standing. Arguments, files and errors as `run_trial`."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    running = _Running(spec=spec, folder=folder, clock=clock, on_event=on_event)
    running.tell(f"lab {lab.name}: {len(lab.mesh.nodes)} nodes, {len(lab.mesh.links)} links are up")
    seconds = await lab.settled(timeout_s=spec.settle_s)
    running.tell(f"routing settled after {seconds:.1f} s")
    result = await running.watch(lab, controller)
    await asyncio.to_thread((folder / "result.json").write_text, result.model_dump_json(indent=1))
    return result


@dataclass(slots=True)
class _Running:
    spec: TrialSpec
    folder: Path
    clock: Clock
    on_event: OnEvent | None
    events: list[TimelineEvent] = field(default_factory=list)

    def tell(self, text: str) -> None:
        event = TimelineEvent(at=self.clock.now(), text=text)
        self.events.append(event)
        if self.on_event is not None:
            self.on_event(event)

    async def watch(self, lab: Lab, controller: Controller | None) -> TrialResult:
        """Measure around the faults; the controller is stopped whatever happens."""
        source, target = placing.ends(self.spec, lab.mesh)
        flow = self._traffic(lab, source, target)
        path = Watch(lab, source, target)
        injector = Injector(lab, self.folder / "faults.jsonl", self.clock)
        report: ControllerReport | None = None
        if controller is not None:
            await controller.start(lab)
        try:
            before = await path.start()
            await flow.start()
            self.tell(f"traffic {source} to {target} by {' '.join(before.there)}")
            await asyncio.sleep(self.spec.warm_up_s)
            harms = [placing.harm(one, lab, before.there) for one in self.spec.faults]
            void = self._off_path(lab, harms, before)
            fault_at = None if void else await self._harm(injector, harms, flow.path)
        finally:
            try:
                # The traffic first: what is sent after a heal is not the trial's.
                await flow.stop()
                await path.stop()
                await injector.heal_all()
            finally:
                if controller is not None:
                    report = await controller.stop()
        return self._result(lab, path, harms, fault_at=fault_at, report=report, void=void)

    def _traffic(self, lab: Lab, source: NodeId, target: NodeId) -> Traffic:
        spec = self.spec
        return Traffic(
            namespaces=(lab.namespace(source), lab.namespace(target)),
            addresses=(lab.mesh.node(source).address, lab.mesh.node(target).address),
            pps=spec.traffic.pps,
            size=spec.packet_size,
            flows=spec.traffic.flows,
            path=self.folder / "traffic.jsonl",
        )

    def _off_path(self, lab: Lab, harms: list[Harm], before: RoundTrip) -> str | None:
        for harm in harms:
            if not before.crosses(placing.nodes_of(harm.element, lab.mesh)):
                return f"the traffic's path {' '.join(before.there)} does not cross {harm.element}"
        return None

    async def _harm(self, injector: Injector, harms: list[Harm], recording: Path) -> datetime:
        """Do and undo harm as planned, watch until the end, and return when the first one was done."""
        started = time.monotonic()
        planned = sorted(_plan(self.spec.faults, harms), key=lambda step: step[0])
        first: datetime | None = None
        end = started + planned[0][0] + self.spec.duration_s
        for after, verb, harm in planned:
            if started + after >= end:
                break
            await asyncio.sleep(max(0.0, started + after - time.monotonic()))
            entry = await (injector.inject(harm) if verb == "inject" else injector.heal(harm))
            first = first or entry.at
            self.tell(f"{verb} {harm.kind} at {harm.element}")
        if first is None:
            message = "a trial has at least one fault, and the first is always done"
            raise AssertionError(message)
        patience = self.spec.stop_after_clean_s
        while (left := end - time.monotonic()) > 0:
            await asyncio.sleep(min(left, LOOK_SECONDS))
            if patience is not None and await asyncio.to_thread(_has_recovered, recording, first, patience):
                break
        return first

    def _result(
        self,
        lab: Lab,
        path: Watch,
        harms: list[Harm],
        *,
        fault_at: datetime | None,
        report: ControllerReport | None,
        void: str | None,
    ) -> TrialResult:
        moves = path.moves
        told: dict[str, object] = {
            "trial": self.spec.name,
            "lab": lab.name,
            "healed_by": "routing alone" if report is None else "controller",
            "faults": [harm.kind for harm in harms],
            "element": str(harms[0].element),
            "path_before": moves[0].path.there,
            "path_after": moves[-1].path.there,
            "timeline": sorted([*self.events, *(report.events if report else ())], key=lambda one: one.at),
            "void": void,
        }
        if fault_at is None:
            return TrialResult.model_validate(told)
        recording = traffic.read(self.folder / "traffic.jsonl")
        instant = fault_at.timestamp() - recording.wall_minus_monotonic
        actions_at = [one.at.timestamp() - recording.wall_minus_monotonic for one in (report.actions if report else ())]
        effect = traffic.effect(recording, instant, cap_s=self.spec.cap)
        told |= judge(report, harms, fault_at)
        told |= {
            "fault_at": fault_at,
            "outage_s": effect.outage_s,
            "never_recovered": effect.never_recovered,
            "loss_before": effect.loss_before,
            "loss_during": effect.loss_during,
            "loss_after": effect.loss_after,
            "route_changes": sum(move.at >= instant for move in moves[1:]),
            "void": why_void(moves, harms, fault_at=instant, actions_at=actions_at),
        }
        return TrialResult.model_validate(told)


def _plan(faults: tuple[FaultSpec, ...], harms: list[Harm]) -> list[tuple[float, Literal["inject", "heal"], Harm]]:
    steps: list[tuple[float, Literal["inject", "heal"], Harm]] = []
    for spec, harm in zip(faults, harms, strict=True):
        steps.append((spec.at_s, "inject", harm))
        if spec.for_s is not None:
            steps.append((spec.at_s + spec.for_s, "heal", harm))
    return steps


def _has_recovered(path: Path, fault_at: datetime, patience_s: float) -> bool:
    recording = traffic.read(path)
    requests = recording.requests
    instant = fault_at.timestamp() - recording.wall_minus_monotonic
    lost = [one.at for one in requests if one.at >= instant and not one.is_answered]
    since = max(lost, default=instant)
    return requests[-1].at - since >= patience_s + CLEAN_SECONDS
