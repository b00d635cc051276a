"""What a controller reports of a trial, what the trial found, and how the one is held against the other. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from infra.lab.build import Lab
from infra.lab.faults import Harm
from infra.lab.paths import SAMPLE_SECONDS, Move
from models.incident import FaultKind
from models.remedy import ActionState

# Routing neither sees these nor are they themselves a change of path: if the path moves, somebody moved it.
UNSEEN_BY_ROUTING = frozenset({FaultKind.GREY, FaultKind.MTU, FaultKind.SYSCTL_DRIFT})


class TimelineEvent(BaseModel):
    """Something worth a line, for people."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    text: str


class ActionTaken(BaseModel):
    """One operation of the controller.

    Attributes:
        at: When it was ordered (not when it was confirmed), aware UTC.
        element: `link:n0--n1` or `node:n2`.
        remedy: The catalogue's name.
        state: Where it stood when the controller stopped.
    """

    model_config = ConfigDict(frozen=True)

    at: datetime
    element: str
    remedy: str
    state: ActionState


class ControllerReport(BaseModel):
    """What the controller saw, thought and did in one trial.

    Attributes:
        events: In order of time.
        actions: In order of time; none when it only watched.
        detected_at: The first symptom after the controller's start; None when it saw none.
        element: The best diagnosed cause's element, as `str(Element)`; None for "unknown" or no diagnosis.
        fault: Its kind; None without a diagnosis.
    """

    model_config = ConfigDict(frozen=True)

    events: tuple[TimelineEvent, ...] = ()
    actions: tuple[ActionTaken, ...] = ()
    detected_at: datetime | None = None
    element: str | None = None
    fault: FaultKind | None = None


class Controller(Protocol):
    """Whatever looks after the mesh during a trial. It is given the lab, never the fault or the measured traffic."""

    async def start(self, lab: Lab) -> None:
        """Begin; return once it watches."""

    async def stop(self) -> ControllerReport:
        """Stop, leave nothing running, and tell. Called once, also when the trial fails."""


class TrialResult(BaseModel):
    """What one trial found. Times in seconds from the first fault; None where nothing was measured.

    Attributes:
        trial: The trial's name.
        lab: The lab's name.
        healed_by: `controller` or `routing alone`.
        faults: Kinds, in order of injection.
        element: The first fault's element.
        fault_at: Aware UTC; None when the trial was void before it.
        path_before: The traffic's way there, before the fault.
        path_after: The same at the end.
        outage_s: As `infra.lab.traffic` defines it.
        never_recovered: Whether the outage is the cap.
        loss_before: Share of requests unanswered before the fault.
        loss_during: From the fault to the recovery.
        loss_after: From the recovery to the end.
        detect_s: From the fault to the controller's first symptom.
        actions: The controller's operations.
        undone: How many of them were undone.
        wrong_left: How many stand committed on an element that no fault harmed.
        right_element: Whether the best cause names the first fault's element; None without a controller.
        right_cause: Whether it names the element and the kind.
        route_changes: How often the traffic's path moved after the fault.
        void: Why the trial proves nothing; None when it counts.
        timeline: The trial's events and the controller's, in order of time.
    """

    model_config = ConfigDict(frozen=True)

    trial: str
    lab: str
    healed_by: str
    faults: tuple[FaultKind, ...]
    element: str
    fault_at: datetime | None = None
    path_before: tuple[str, ...] = ()
    path_after: tuple[str, ...] = ()
    outage_s: float | None = None
    never_recovered: bool | None = None
    loss_before: float | None = None
    loss_during: float | None = None
    loss_after: float | None = None
    detect_s: float | None = None
    actions: tuple[ActionTaken, ...] = ()
    undone: int = 0
    wrong_left: int = 0
    right_element: bool | None = None
    right_cause: bool | None = None
    route_changes: int = 0
    void: str | None = Field(default=None)
    timeline: tuple[TimelineEvent, ...] = ()


def why_void(
    moves: Sequence[Move], harms: Sequence[Harm], *, fault_at: float, actions_at: Sequence[float]
) -> str | None:
    """Return why the trial proves nothing, or None.

    A path that moves before the fault voids any trial. After a fault that routing cannot see, its first move voids the
    trial unless the controller had ordered an action by then.

    Args:
        moves: The first is the path at the start.
        harms: What was injected.
        fault_at: Monotonic seconds of the first harm.
        actions_at: Monotonic seconds at which the controller ordered actions.
    """
    early = [move for move in moves[1:] if move.at < fault_at]
    if early:
        return f"the path moved {fault_at - early[0].at:.1f} s before the fault, to {' '.join(early[0].path.there)}"
    late = [move for move in moves[1:] if move.at >= fault_at]
    if not late or not all(harm.kind in UNSEEN_BY_ROUTING for harm in harms):
        return None
    # A sample tells of a move up to its period late, never early; an action ordered since then cannot be its cause.
    if any(fault_at <= at <= late[0].at + SAMPLE_SECONDS for at in actions_at):
        return None
    return f"the path moved {late[0].at - fault_at:.1f} s after the fault, before any action, to " + " ".join(
        late[0].path.there
    )


def judge(report: ControllerReport | None, harms: Sequence[Harm], fault_at: datetime) -> dict[str, object]:
    """Return the fields of a TrialResult that hold the controller's report against the truth."""
    if report is None:
        return {}
    harmed = {str(harm.element) for harm in harms}
    is_element = report.element == str(harms[0].element)
    states = [action.state for action in report.actions]
    wrong = [one for one in report.actions if one.state is ActionState.COMMITTED and one.element not in harmed]
    detect_s = None if report.detected_at is None else (report.detected_at - fault_at).total_seconds()
    return {
        "detect_s": detect_s,
        "actions": report.actions,
        "undone": states.count(ActionState.UNDONE),
        "wrong_left": len(wrong),
        "right_element": is_element,
        "right_cause": is_element and report.fault is harms[0].kind,
    }
