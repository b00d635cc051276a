"""The one clock."""

from __future__ import annotations

from datetime import UTC, datetime


class SystemClock:
    """Wall time of this machine."""

    def now(self) -> datetime:
        """Return the present, aware UTC."""
        return datetime.now(UTC)  # noqa: TID251 - the one clock
