"""Fitted models by digest, and where unfinished fits stand."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index, LargeBinary, text
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.orm import Mapped, mapped_column

from infra.db.tables import Base


class ModelRow(Base):
    """A fitted model. The database itself refuses weights that are not those of the digest."""

    __tablename__ = "models"
    __table_args__ = (
        CheckConstraint("encode(sha256(weights), 'hex') = digest", name="weights_are_the_digests"),
        Index("ix_models_promoted", "promoted_at", postgresql_where=text("promoted_at IS NOT NULL")),
    )
    digest: Mapped[str] = mapped_column(primary_key=True)
    weights: Mapped[bytes] = mapped_column(LargeBinary())
    config: Mapped[Any] = mapped_column(JSON())
    metrics: Mapped[Any] = mapped_column(JSON())
    data_digest: Mapped[str]
    made_at: Mapped[datetime]
    verdict: Mapped[str]
    promoted_at: Mapped[datetime | None]


class FitRow(Base):
    """The newest checkpoint of a fit that is not over."""

    __tablename__ = "fits"
    run: Mapped[str] = mapped_column(primary_key=True)
    epoch: Mapped[int]
    state: Mapped[bytes] = mapped_column(LargeBinary())
    losses: Mapped[Any] = mapped_column(JSON())
    at: Mapped[datetime]
