"""Closing what the past left open: a restored database believes that the moment of its backup is now.

The rest needs no fence. Counting is idempotent, marks of scans only make them read again, signed orders expired long
ago, and a duty of an older epoch is asked for anew. Messages that were due are told again: at least once, as ever.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from infra.db.door import at_the_door

if TYPE_CHECKING:
    import asyncpg

# Nodes refuse orders of an older epoch than they have seen, and watches went on after the backup was made. Epochs are
# taken one at a time and never one a second, so the time in seconds is above all that were ever given out.
EPOCHS = "UPDATE long_runs SET epoch = greatest(epoch + 1, extract(epoch FROM $1::timestamptz)::bigint)"
# Whatever a person allowed before the loss may have been done since; a plan is asked about anew.
APPROVALS = "UPDATE decisions SET used = true WHERE NOT used"
REQUESTS = (
    "UPDATE heal_requests SET outcome = 'refused: the database was restored meanwhile; ask again' WHERE outcome IS NULL"
)
# A join token is good once, and this database does not know whether that was since.
TOKENS = "UPDATE join_tokens SET used_by = 'the restore' WHERE used_by IS NULL"
# A node's role lives beside the database and is in no dump of it; one that was expelled since has none either.
NODES = "DELETE FROM joined_nodes WHERE role NOT IN (SELECT rolname FROM pg_roles)"
NOTE = "INSERT INTO audit (at, actor, what, detail) VALUES ($1::timestamptz, 'restore', 'restored', $2)"


async def fence(connection: asyncpg.Connection, *, made_at: datetime, now: datetime) -> dict[str, int]:
    """Close it, in one transaction, and write into the audit that and of when the database was restored.

    Returns:
        What was closed, and how many rows of it.
    """
    with at_the_door():
        async with connection.transaction():
            done = {
                "epochs raised": await connection.execute(EPOCHS, now),
                "approvals used up": await connection.execute(APPROVALS),
                "requests to heal refused": await connection.execute(REQUESTS),
                "join tokens spent": await connection.execute(TOKENS),
                "nodes that must join anew": await connection.execute(NODES),
            }
            await connection.execute(NOTE, now, f"as of {made_at.isoformat(timespec='seconds')}")
    # asyncpg answers with the command's tag: `UPDATE 3`, `DELETE 1`.
    return {said: int(tag.rpartition(" ")[2]) for said, tag in done.items()}
