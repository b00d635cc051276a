"""The post about addresses over a fake store's memory."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from models.gate import Duty
from models.mesh import NodeId
from models.ports import Signed
from models.remedy import ActionReport, ActionState, OperationId
from tests.fakes.ledger import Desk
from tests.fakes.memory import Memory

Key = tuple[str, NodeId, str]


@dataclass(frozen=True, slots=True)
class PostedDuty:
    """A duty with its order."""

    duty: Duty
    signed: Signed


class FakeDuties:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def request(self, mesh: str, duty: Duty, signed: Signed) -> None:
        self._desk.write(
            lambda memory: _request(memory, (mesh, duty.action.node, duty.address), duty, signed), "actions"
        )

    async def of_node(self, mesh: str, node: NodeId) -> list[Duty]:
        return [one.duty for one in self._of(mesh, node)]

    async def post_for(self, mesh: str, node: NodeId) -> list[tuple[OperationId, Signed]]:
        waiting = [one for one in self._of(mesh, node) if one.duty.state is ActionState.REQUESTED]
        return [(one.duty.operation, one.signed) for one in waiting]

    async def report(self, mesh: str, node: NodeId, report: ActionReport) -> None:
        self._desk.write(lambda memory: _report(memory, mesh, node, report), "reports")

    async def forget(self, mesh: str, node: NodeId, addresses: Collection[str]) -> None:
        self._desk.write(lambda memory: [memory.duties.pop((mesh, node, one), None) for one in addresses])

    def _of(self, mesh: str, node: NodeId) -> list[PostedDuty]:
        return [one for key, one in self._desk.seen.duties.items() if key[:2] == (mesh, node)]


def _request(memory: Memory, key: Key, duty: Duty, signed: Signed) -> None:
    # The newest stands last.
    memory.duties.pop(key, None)
    memory.duties[key] = PostedDuty(duty, signed)


def _report(memory: Memory, mesh: str, node: NodeId, report: ActionReport) -> None:
    for key, one in memory.duties.items():
        asked = one.duty.operation == report.operation and one.duty.state is ActionState.REQUESTED
        if key[:2] == (mesh, node) and asked:
            memory.duties[key] = replace(one, duty=replace(one.duty, state=report.state, report=report))
