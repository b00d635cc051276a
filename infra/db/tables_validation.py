"""Validations of incidents' dependencies."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from infra.db.documents import Document
from infra.db.tables import Base, IncidentRow
from models.validation import ValidationRecord


class ValidationRow(Base):
    """The newest validation of one incident."""

    __tablename__ = "validations"
    incident: Mapped[str] = mapped_column(ForeignKey(IncidentRow.id), primary_key=True)
    at: Mapped[datetime]
    record: Mapped[Any] = mapped_column(Document(ValidationRecord))
