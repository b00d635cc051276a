"""A licence's order is looked up by its key alone.

A condition on the state invites a walk along the index of states, and a plan is kept by its connection: one made while
hardly any order was settled read every settled order for each licence, half a second for a batch of 100.

Revision ID: 0006
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision: str | None = "0005"

EARNED = """
CREATE OR REPLACE FUNCTION ledger_earned() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    its text;
BEGIN
    SELECT state INTO its FROM orders WHERE id = NEW.order_id FOR SHARE;
    IF its IS DISTINCT FROM 'SETTLED' THEN
        RAISE EXCEPTION USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME,
            MESSAGE = 'only a settled order earns a licence';
    END IF;
    RETURN NEW;
END $$
"""


def upgrade() -> None:
    """Replace the function."""
    op.execute(EARNED)
