"""`models.joining.JoinRepository` on Postgres: who joined, and a role of its own for each."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Any

from sqlalchemy import Row, delete, insert, select, text, update

from infra.db.migrations.rules_0009 import NODES
from infra.db.tables_join import JoinedNodeRow, JoinTokenRow
from infra.db.transaction import Transaction
from models.joining import JoinedNode, JoinRefused, JoinToken

# RFC 5802's minimum and Postgres' own default; the password behind it is 256 random bits, which no rounds protect more.
SCRAM_ROUNDS = 4096
SALT_BYTES = 16
# A collector holds three or four, its agent two, and a successor may overlap; whoever stole the role gets no more.
CONNECTIONS = 40
# A session that is told to go has ended by then, or its transaction is stuck in the kernel.
SESSION_END_MS = 5_000

ROLE_EXISTS = text("SELECT 1 FROM pg_roles WHERE rolname = :role")
END_SESSIONS = text("SELECT pg_terminate_backend(pid, :patience) FROM pg_stat_activity WHERE usename = :role")

TOKEN_COLUMNS = (
    JoinTokenRow.digest,
    JoinTokenRow.mesh,
    JoinTokenRow.node,
    JoinTokenRow.created_by,
    JoinTokenRow.created_at,
    JoinTokenRow.expires_at,
    JoinTokenRow.used_by,
)
NODE_COLUMNS = (
    JoinedNodeRow.mesh,
    JoinedNodeRow.node,
    JoinedNodeRow.role,
    JoinedNodeRow.pass_digest,
    JoinedNodeRow.joined_at,
)


def scram_verifier(password: str) -> str:
    """Return what Postgres keeps of an ASCII password (RFC 5803), so that the password itself is never sent to it."""
    salt = secrets.token_bytes(SALT_BYTES)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, SCRAM_ROUNDS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    shown = [base64.b64encode(one).decode() for one in (salt, stored, server)]
    return f"SCRAM-SHA-256${SCRAM_ROUNDS}:{shown[0]}${shown[1]}:{shown[2]}"


def _quoted(name: str) -> str:
    """Quote an identifier: roles are made by statements that take no parameters."""
    return '"' + name.replace('"', '""') + '"'


def _plain(statement: str) -> Any:
    """Return a statement without parameters; a colon in it is a colon."""
    return text(statement.replace(":", "\\:"))


class PostgresJoins:
    """Roles and rows change in one transaction: a node has both or neither."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def add_token(self, token: JoinToken) -> None:
        """Insert."""
        await self._transaction.run(
            insert(JoinTokenRow).values(
                digest=token.digest,
                mesh=token.mesh,
                node=token.node,
                created_by=token.created_by,
                created_at=token.created_at,
                expires_at=token.expires_at,
                used_by=token.used_by,
            )
        )

    async def token(self, digest: str) -> JoinToken | None:
        """Select for update."""
        found = await self._transaction.run(
            select(*TOKEN_COLUMNS).where(JoinTokenRow.digest == digest).with_for_update()
        )
        row = found.one_or_none()
        return None if row is None else JoinToken(*row)

    async def use_token(self, digest: str, *, by: str) -> None:
        """Update."""
        await self._transaction.run(update(JoinTokenRow).where(JoinTokenRow.digest == digest).values(used_by=by))

    async def admit(self, node: JoinedNode, *, password: str) -> None:
        """Make the role, then its row. A role that stands already is somebody else's: its password stays as it is."""
        if await self.get(node.mesh, node.node) is not None:
            raise JoinRefused(f"{node.node} has joined {node.mesh} already")
        if (await self._transaction.run(ROLE_EXISTS, {"role": node.role})).first() is not None:
            raise JoinRefused(
                f"the database server has a role {node.role} that this installation did not make; "
                "drop it there if no other installation uses it"
            )
        await self._transaction.run(
            _plain(
                f"CREATE ROLE {_quoted(node.role)} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION"
                f" CONNECTION LIMIT {CONNECTIONS} IN ROLE {NODES} PASSWORD '{scram_verifier(password)}'"
            )
        )
        await self._transaction.run(
            insert(JoinedNodeRow).values(
                mesh=node.mesh,
                node=node.node,
                role=node.role,
                pass_digest=node.pass_digest,
                joined_at=node.joined_at,
            )
        )

    async def expel(self, mesh: str, node: str) -> bool:
        """Delete the row, which ends its rights at once; then end its sessions, which frees the locks it holds."""
        found = await self._transaction.run(
            delete(JoinedNodeRow)
            .where(JoinedNodeRow.mesh == mesh, JoinedNodeRow.node == node)
            .returning(JoinedNodeRow.role)
        )
        role = found.scalar_one_or_none()
        if role is None:
            return False
        # A database that was restored elsewhere has the row without the role.
        if (await self._transaction.run(ROLE_EXISTS, {"role": role})).first() is not None:
            # Who is no superuser may end the sessions of roles it is a member of, and of no others.
            await self._transaction.run(_plain(f"GRANT {_quoted(role)} TO CURRENT_USER"))
            await self._transaction.run(END_SESSIONS, {"role": role, "patience": SESSION_END_MS})
            await self._transaction.run(_plain(f"DROP ROLE {_quoted(role)}"))
        return True

    async def get(self, mesh: str, node: str) -> JoinedNode | None:
        """Select by key."""
        found = await self._transaction.run(
            select(*NODE_COLUMNS).where(JoinedNodeRow.mesh == mesh, JoinedNodeRow.node == node)
        )
        return _node_of(found.one_or_none())

    async def of_pass(self, digest: str) -> JoinedNode | None:
        """Select by the unique digest."""
        found = await self._transaction.run(select(*NODE_COLUMNS).where(JoinedNodeRow.pass_digest == digest))
        return _node_of(found.one_or_none())

    async def of_mesh(self, mesh: str) -> list[JoinedNode]:
        """Select by the key's first column."""
        found = await self._transaction.run(
            select(*NODE_COLUMNS).where(JoinedNodeRow.mesh == mesh).order_by(JoinedNodeRow.node)
        )
        return [JoinedNode(*row) for row in found]


def _node_of(row: Row[Any] | None) -> JoinedNode | None:
    return None if row is None else JoinedNode(*row)
