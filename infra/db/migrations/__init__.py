"""Alembic's scripts; `infra.db.migrate` runs them."""
