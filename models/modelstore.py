"""What was fitted, and the door to where it is kept. Whoever only names it here needs none of what fits and asks it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from models.fitting import Checkpoint


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A fitted model as it is kept.

    Attributes:
        digest: SHA-256 of `weights`; its name everywhere.
        weights: As `models.weights.write` wrote them.
        config: What the fit was asked for.
        metrics: Scores on the held-out incidents, its own and its rivals'.
        data_digest: SHA-256 over everything it was fitted on.
        made_at: Aware UTC.
        verdict: The gate's sentence.
        promoted_at: When it began to serve last; None: it never did.
    """

    digest: str
    weights: bytes
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    data_digest: str
    made_at: datetime
    verdict: str
    promoted_at: datetime | None = None


class ModelRepository(Protocol):
    """Fitted models, and where unfinished fits stand."""

    async def add(self, record: ModelRecord) -> None:
        """Store; a known digest keeps its weights and promotion, and takes the new metrics and verdict."""

    async def promote(self, digest: str, now: datetime) -> None:
        """Let this one serve from now on.

        Raises:
            ConfigurationInvalid: there is none of that digest.
        """

    async def promoted(self) -> ModelRecord | None:
        """Return the one promoted last."""

    async def recent(self, limit: int = 20) -> list[ModelRecord]:
        """Return the newest, latest first."""

    async def keep_checkpoint(self, run: str, checkpoint: Checkpoint, now: datetime) -> None:
        """Remember where a fit stands; an earlier epoch never takes the place of a later one."""

    async def checkpoint(self, run: str) -> Checkpoint | None:
        """Return where a fit stood when it was last heard of."""

    async def drop_checkpoints(self, run: str, *, before: datetime) -> None:
        """Forget a finished fit, and those not heard of since `before`."""
