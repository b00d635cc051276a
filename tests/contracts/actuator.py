"""What every actuator promises: signed, in time, once, and taken back unless committed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Protocol

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.node.signing import Ed25519Signer
from models.mesh import Element, LinkId, NodeId
from models.ports import Actuator, Clock, Signed
from models.remedy import Action, ActionState, Closing, ClosingOrder, OperationId, Order, PlanHash, Verb

LEASE = timedelta(seconds=2)
HEALTHY, CHANGED, OTHER = 1500, 1400, 1300


class World(Protocol):
    """The one setting the contract's orders write, and the time it happens in."""

    clock: Clock

    def mtu(self) -> int:
        """Return the interface's MTU now."""

    def writes(self) -> int:
        """Count how often somebody changed it (an even better witness than its value)."""

    async def lapse(self, time: timedelta) -> None:
        """Let so much time pass, and the actuator notice."""


@dataclass
class Bench:
    """An actuator of node n0 on a world, and a control key that it believes."""

    actuator: Actuator
    world: World
    key: Ed25519PrivateKey
    stranger: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    interface: str = "to-n1"

    def order(self, name: str = "op-1", *, mtu: int = CHANGED, epoch: int = 1) -> Order:
        node = NodeId("n0")
        arguments: dict[str, str | int] = {"interface": self.interface, "mtu": mtu}
        return Order(
            operation=OperationId(name),
            plan_hash=PlanHash("p"),
            action=Action(node, Verb.SET_MTU, arguments, Element.of_link(LinkId("n0--n1"))),
            epoch=epoch,
            expires_at=self.world.clock.now() + timedelta(seconds=30),
            lease=LEASE,
        )

    def closing(self, closing: Closing, name: str = "op-1", *, epoch: int = 1) -> ClosingOrder:
        expires_at = self.world.clock.now() + timedelta(seconds=30)
        return ClosingOrder(OperationId(name), NodeId("n0"), closing, epoch, expires_at)

    def signed(self, order: Order | ClosingOrder) -> Signed:
        return Ed25519Signer(self.key).sign(order)

    async def state(self, order: Order | ClosingOrder) -> ActionState:
        return (await self.actuator.execute(self.signed(order))).state


class ActuatorContract:
    """What every Actuator promises. Subclass once per implementation; supply `bench`."""

    async def test_applies_a_signed_order_and_reports_what_it_read_back(self, bench: Bench):
        report = await bench.actuator.execute(bench.signed(bench.order()))
        assert report.state is ActionState.APPLIED
        assert (report.before, report.after) == (str(HEALTHY), str(CHANGED))
        assert report.lease_until is not None
        assert bench.world.mtu() == CHANGED

    async def test_order_seen_twice_acts_once(self, bench: Bench):
        signed = bench.signed(bench.order())
        first = await bench.actuator.execute(signed)
        writes = bench.world.writes()
        assert await bench.actuator.execute(signed) == first
        assert bench.world.writes() == writes

    async def test_undone_order_seen_again_stays_undone(self, bench: Bench):
        signed = bench.signed(bench.order())
        await bench.actuator.execute(signed)
        assert await bench.state(bench.closing(Closing.UNDO)) is ActionState.UNDONE
        assert (await bench.actuator.execute(signed)).state is ActionState.UNDONE
        assert bench.world.mtu() == HEALTHY

    @pytest.mark.parametrize(
        "fault", ["unsigned", "strangers", "altered", "expired", "foreign", "old-epoch", "no-order"]
    )
    async def test_refused_order_changes_nothing_and_leaves_no_trace(self, bench: Bench, fault: str):
        order = bench.order()
        signed = bench.signed(order)
        known = 0
        if fault == "unsigned":
            signed = replace(signed, signature=b"")
        elif fault == "strangers":
            signed = Ed25519Signer(bench.stranger).sign(order)
        elif fault == "altered":
            signed = replace(signed, payload=signed.payload.replace(str(CHANGED).encode(), str(OTHER).encode()))
        elif fault == "expired":
            signed = bench.signed(replace(order, expires_at=bench.world.clock.now() - timedelta(seconds=1)))
        elif fault == "foreign":
            signed = bench.signed(replace(order, action=replace(order.action, node=NodeId("n1"))))
        elif fault == "old-epoch":
            await bench.state(bench.order("op-0", mtu=HEALTHY, epoch=7))
            await bench.state(bench.closing(Closing.UNDO, "op-0", epoch=7))
            known = 1
        else:
            signed = Signed(b"{}", bench.key.sign(b"{}"))
        writes = bench.world.writes()
        report = await bench.actuator.execute(signed)
        assert report.state is ActionState.REFUSED
        assert report.message
        assert (bench.world.mtu(), bench.world.writes()) == (HEALTHY, writes)
        assert len(await bench.actuator.reports()) == known

    async def test_forged_order_does_not_block_the_true_one(self, bench: Bench):
        order = bench.order()
        await bench.actuator.execute(Ed25519Signer(bench.stranger).sign(order))
        assert await bench.state(order) is ActionState.APPLIED

    async def test_operation_id_cannot_be_used_for_another_action(self, bench: Bench):
        await bench.state(bench.order())
        assert await bench.state(bench.order(mtu=OTHER)) is ActionState.REFUSED
        assert bench.world.mtu() == CHANGED

    async def test_order_whose_precondition_fails_is_refused_for_good(self, bench: Bench):
        order = bench.order(mtu=1)
        assert await bench.state(order) is ActionState.REFUSED
        assert [report.state for report in await bench.actuator.reports()] == [ActionState.REFUSED]
        assert bench.world.mtu() == HEALTHY

    async def test_lease_that_runs_out_is_undone_without_being_asked(self, bench: Bench):
        await bench.state(bench.order())
        await bench.world.lapse(LEASE)
        assert bench.world.mtu() == HEALTHY
        assert [report.state for report in await bench.actuator.reports()] == [ActionState.UNDONE]

    async def test_commit_after_the_lease_finds_it_undone(self, bench: Bench):
        await bench.state(bench.order())
        await bench.world.lapse(LEASE)
        assert await bench.state(bench.closing(Closing.COMMIT)) is ActionState.UNDONE
        assert bench.world.mtu() == HEALTHY

    async def test_committed_change_outlives_its_lease_and_can_still_be_taken_back(self, bench: Bench):
        await bench.state(bench.order())
        assert await bench.state(bench.closing(Closing.COMMIT)) is ActionState.COMMITTED
        await bench.world.lapse(LEASE)
        assert bench.world.mtu() == CHANGED
        assert await bench.state(bench.closing(Closing.UNDO)) is ActionState.UNDONE
        assert bench.world.mtu() == HEALTHY

    async def test_undo_twice_is_undo_once(self, bench: Bench):
        await bench.state(bench.order())
        await bench.state(bench.closing(Closing.UNDO))
        writes = bench.world.writes()
        assert await bench.state(bench.closing(Closing.UNDO)) is ActionState.UNDONE
        assert bench.world.writes() == writes

    async def test_second_writer_of_a_leased_setting_is_refused(self, bench: Bench):
        await bench.state(bench.order())
        assert await bench.state(bench.order("op-2", mtu=OTHER)) is ActionState.REFUSED
        assert bench.world.mtu() == CHANGED

    async def test_change_that_a_later_one_replaced_is_not_taken_back(self, bench: Bench):
        await bench.state(bench.order())
        await bench.state(bench.closing(Closing.COMMIT))
        await bench.state(bench.order("op-2", mtu=OTHER))
        assert await bench.state(bench.closing(Closing.UNDO)) is ActionState.REFUSED
        assert bench.world.mtu() == OTHER

    async def test_undo_that_overtakes_its_order_keeps_it_from_acting(self, bench: Bench):
        assert await bench.state(bench.closing(Closing.UNDO)) is ActionState.UNDONE
        assert await bench.state(bench.order()) is ActionState.UNDONE
        assert bench.world.mtu() == HEALTHY

    async def test_commit_of_an_unknown_operation_is_refused(self, bench: Bench):
        assert await bench.state(bench.closing(Closing.COMMIT)) is ActionState.REFUSED
