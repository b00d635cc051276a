import asyncio
import json
import socket
from datetime import UTC, datetime

import pytest

from infra.clock import SystemClock
from infra.lab import kernel, names
from infra.lab.running import run_trial
from infra.lab.trial import TrialSpec
from infra.lab.verdict import ActionTaken, ControllerReport
from models.incident import FaultKind
from models.mesh import LinkId
from models.remedy import ActionState
from tests.infra.lab.conftest import LAB

pytestmark = pytest.mark.kernel
DEAR = 20000  # dearer than any healthy path of these meshes


class CostsOutTheMiddle:
    """Knows nothing and costs one link out at both ends after a while: enough to prove what a trial measures."""

    def __init__(self, link, *, after_s):
        self.link = LinkId(link)
        self.after_s = after_s
        self.actions = []
        self.task = None

    async def start(self, lab):
        self.task = asyncio.create_task(self.act(lab))

    async def act(self, lab):
        await asyncio.sleep(self.after_s)
        at = datetime.now(UTC)  # noqa: TID251 - a test's controller stands outside
        self.actions.append(
            ActionTaken(at=at, element=f"link:{self.link}", remedy="cost-out-link", state=ActionState.COMMITTED)
        )
        for end in (lab.mesh.link(self.link).a, lab.mesh.link(self.link).b):
            with socket.socket(socket.AF_UNIX) as control:
                control.connect(str(lab.places[end.node].daemon.socket))
                control.sendall(
                    f"flush interface {end.name}\n"
                    f"interface {end.name} type wired rxcost {DEAR} hello-interval 1 update-interval 4\n".encode()
                )
                await asyncio.sleep(0.1)

    async def stop(self):
        await self.task
        return ControllerReport(
            actions=tuple(self.actions),
            element=f"link:{self.link}",
            fault=FaultKind.GREY,
            detected_at=self.actions[0].at,
        )


async def trial(tmp_path, lab_state, letter, *, controller=None, **spec):
    return await run_trial(
        TrialSpec.model_validate({"size": 4, "warm_up_s": 2, "duration_s": 15, "stop_after_clean_s": 2, **spec}),
        controller,
        lab=f"{LAB}{letter}",
        state=lab_state,
        folder=tmp_path / letter,
        clock=SystemClock(),
    )


async def test_routing_repairs_a_dead_link_and_not_a_grey_one_and_a_controller_does(tmp_path, lab_state):
    """Three labs side by side."""
    grey = {"faults": [{"kind": "grey", "class": "flow"}]}
    # Counted from the controller's start, which is two seconds of warm-up before the fault.
    acting = CostsOutTheMiddle("n0--n3", after_s=5)
    down, alone, healed = await asyncio.gather(
        trial(tmp_path, lab_state, "d", faults=[{"kind": "link_down"}]),
        trial(tmp_path, lab_state, "g", **grey),
        trial(tmp_path, lab_state, "h", **grey, controller=acting),
    )
    assert down.void is None
    assert not down.never_recovered
    assert down.loss_after == 0
    assert down.route_changes >= 1
    assert alone.void is None
    assert alone.never_recovered
    assert alone.outage_s == 15
    assert alone.loss_during > 0.9
    assert alone.healed_by == "routing alone"
    assert healed.void is None, healed
    assert not healed.never_recovered
    assert 1 < healed.outage_s < 15
    assert healed.right_cause
    assert healed.element == "link:n0--n3"
    assert healed.wrong_left == 0
    assert healed.path_after == ("n0", "n1", "n2")
    journal = [json.loads(line) for line in (tmp_path / "g/faults.jsonl").read_text().splitlines()]
    assert [(one["event"], one["element"]) for one in journal] == [("inject", alone.element), ("heal", alone.element)]
    assert json.loads((tmp_path / "g/result.json").read_text())["outage_s"] == 15
    for letter in "dgh":
        assert kernel.namespaces(names.prefix(f"{LAB}{letter}")) == ()


async def test_a_fault_off_the_traffics_path_voids_the_trial(tmp_path, lab_state):
    result = await trial(
        tmp_path, lab_state, "o", traffic={"target": "n1"}, faults=[{"kind": "blackhole", "place": "n2--n3"}]
    )
    assert "does not cross link:n2--n3" in result.void
    assert result.outage_s is None
