"""One transaction on one connection: what the repositories share."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, CursorResult, Executable, any_, literal, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import QueryableAttribute

from infra.db.door import at_the_door
from models.errors import BrokenError

Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]]

NOTIFY = text("SELECT pg_notify(channel, '') FROM unnest(CAST(:channels AS text[])) AS channel")


def among(column: QueryableAttribute[Any], values: Collection[Any]) -> ColumnElement[bool]:
    """Ask for rows whose column has one of the values, in one array.

    An IN list is another statement for each length: parsed, prepared and planned anew, at 500 values longer than it
    takes to run.
    """
    return column == any_(literal(list(values), ARRAY(column.type)))


class Transaction:
    """Statements of one unit of work, and the hints to send when it commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._channels: set[str] = set()
        self._is_spoiled = False

    async def run(self, statement: Executable, parameters: Parameters | None = None) -> CursorResult[Any]:
        """Execute one statement; a sequence of parameters is one round trip. Raises as `at_the_door` says."""
        try:
            with at_the_door():
                return await self._connection.execute(statement, parameters)
        except BaseException:
            self._is_spoiled = True
            raise

    def spoil(self) -> None:
        """Let this unit of work only be left: what it believed is not so."""
        self._is_spoiled = True

    def hint(self, channel: str) -> None:
        """Notify `channel` once the transaction is committed."""
        self._channels.add(channel)

    async def commit(self) -> None:
        """Commit, and send the hints with it.

        Raises:
            BrokenError: a statement failed before and somebody went on; Postgres would answer COMMIT with a silent
                rollback. Or `spoil` was called.
        """
        if self._is_spoiled:
            raise BrokenError("the database refused a statement of this unit of work; let its error leave the unit")
        with at_the_door():
            if self._channels:
                await self._connection.execute(NOTIFY, {"channels": sorted(self._channels)})
            await self._connection.commit()
