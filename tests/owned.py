"""A database whose owner is an ordinary role, and a server that lets nodes in by their passwords only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import URL, make_url

from infra.db.cluster import Cluster
from infra.db.migrate import migrate
from tests.conftest import execute

OWNER, POOR = "x0_owner", "x0_poor"
# Before the cluster's own rule: nodes show a password, the owner of the tables is let in as an ordinary role.
RULES = f"local all {OWNER},{POOR} trust\nlocal all +x0_node scram-sha-256\n"


@asynccontextmanager
async def owned_database(cluster: Cluster, name: str) -> AsyncIterator[URL]:
    """Give the address of a migrated database, as its owner; roles of nodes that joined it are dropped with it."""
    rules = cluster.data / "pg_hba.conf"
    if not rules.read_text().startswith(RULES):
        rules.write_text(RULES + rules.read_text())
        await execute(cluster.prefect_url, f"CREATE ROLE {OWNER} LOGIN CREATEROLE")
        await execute(cluster.prefect_url, "SELECT pg_reload_conf()")
        await asyncio.sleep(0.2)  # the postmaster reads it when it gets the signal, and says nothing
    await execute(cluster.prefect_url, f"CREATE DATABASE {name} OWNER {OWNER}")
    here = make_url(cluster.url(name)).set(username=OWNER)
    try:
        await migrate(here.render_as_string(hide_password=False))
        yield here
    finally:
        await execute(cluster.prefect_url, f"DROP DATABASE {name} WITH (FORCE)")
        await execute(
            cluster.prefect_url,
            "DO $$ DECLARE one text; BEGIN FOR one IN SELECT rolname FROM pg_roles WHERE rolname LIKE 'x0_node_%'"
            " LOOP EXECUTE format('DROP ROLE %I', one); END LOOP; END $$",
        )
