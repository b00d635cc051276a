"""What Alembic runs around the revisions: use the connection that `infra.db.migrate` opened."""

from __future__ import annotations

from alembic import context

from infra.db.tables import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
# The transaction is the caller's: a half-applied upgrade is never seen.
context.run_migrations()
