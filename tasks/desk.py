"""The desk: requests to heal that arrived over the API, the CLI or Telegram, and their answers."""

from __future__ import annotations

from models.incident import Outcome
from models.ports import HealRequest
from tasks.wiring import adapters


async def waiting(mesh: str) -> list[HealRequest]:
    """Return requests nobody answered yet, oldest first."""
    async with adapters().store.unit() as uow:
        return await uow.requests.waiting(mesh)


async def finish(request: HealRequest, outcome: Outcome) -> None:
    """Write a turn's outcome beside the request that asked for it."""
    kind = f"{outcome.kind}: " if outcome.kind else ""
    async with adapters().store.unit() as uow:
        await uow.requests.finish(request.id, f"{kind}{outcome.reason}")
