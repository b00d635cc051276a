"""Joining: how a machine becomes a node with credentials of its own, which reach nothing but that node's share."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from models.errors import RefusedError
from models.mesh import Mesh

LONGEST = timedelta(days=7)
"""For how long a token may be good. It is carried to a machine by hand; whoever finds it later must find it dead."""

# A host's name, as Kubernetes and DNS have it. A worker's queue and a database role are named after it.
NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?")
# Postgres cuts longer names off, and two that are cut alike would be one role.
ROLE_LENGTH = 63
DIGEST_SHOWN = 32


class JoinRefused(RefusedError):
    """Raised when a token does not let this machine in under this name; the sentence says what to do."""


@dataclass(frozen=True, slots=True)
class JoinToken:
    """A token that can join, once, and nothing else.

    Attributes:
        digest: SHA-256 of its secret in hexadecimal; the secret is kept nowhere.
        mesh: Where it lets somebody in.
        node: The only name it is for; None: any node that the mesh declares and that has not joined.
        created_by: For the record.
        created_at: When.
        expires_at: From then on it is worth nothing.
        used_by: The node that used it up.
    """

    digest: str
    mesh: str
    node: str | None
    created_by: str
    created_at: datetime
    expires_at: datetime
    used_by: str | None = None


@dataclass(frozen=True, slots=True)
class JoinedNode:
    """A node that has credentials of its own.

    Attributes:
        mesh: Its mesh.
        node: Its name.
        role: Its role in the database.
        pass_digest: SHA-256 in hexadecimal of what it shows at the gateway's door to Prefect.
        joined_at: When.
    """

    mesh: str
    node: str
    role: str
    pass_digest: str
    joined_at: datetime


def check_name(node: str) -> None:
    """Refuse a name that cannot be a node's.

    Raises:
        JoinRefused: it cannot.
    """
    if NAME.fullmatch(node) is None:
        raise JoinRefused("a node's name has letters, digits, '-' and '.', at most 63 of them, and begins with neither")


def check_lasting(lasts: timedelta) -> None:
    """Refuse a token that would last for ever, or not at all.

    Raises:
        JoinRefused: it would.
    """
    if not timedelta(0) < lasts <= LONGEST:
        raise JoinRefused(f"a join token lasts for more than nothing and at most {LONGEST.days} days")


def role_of(mesh: str, node: str) -> str:
    """Return the name of a node's role in the database; a name that Postgres would cut short gets a digest instead."""
    whole = f"x0_node_{mesh}_{node}"
    if len(whole.encode()) <= ROLE_LENGTH:
        return whole
    return f"x0_node_{hashlib.sha256(f'{mesh}/{node}'.encode()).hexdigest()[:DIGEST_SHOWN]}"


def admit(
    token: JoinToken | None, node: str, *, mesh: str, declared: Mesh | None, joined: JoinedNode | None, now: datetime
) -> JoinToken:
    """Say whether a token lets a machine into a mesh under a name.

    Args:
        token: As kept; None where nothing is known of what was shown.
        node: The name it wants.
        mesh: The mesh it wants.
        declared: The mesh as it is declared.
        joined: Who has that name already.
        now: The present.

    Raises:
        JoinRefused: it does not. What a stranger without a token is told never depends on names.
    """
    if token is None or token.expires_at <= now:
        raise JoinRefused("this join token is unknown or over; make one with `x0tta6bl4 join-token create`")
    if token.used_by is not None:
        raise JoinRefused(f"this join token was used, by {token.used_by}; make one for each node")
    if token.mesh != mesh:
        raise JoinRefused(f"this join token is for mesh {token.mesh}, not {mesh}; set X0_MESH or --mesh to it")
    if token.node is not None and token.node != node:
        raise JoinRefused(f"this join token is for node {token.node}, not {node}")
    known = {one.id for one in declared.nodes} if declared else set()
    if token.node is None and node not in known:
        raise JoinRefused(
            f"mesh {mesh} declares no node {node}; declare it, or name it: `x0tta6bl4 join-token create --node {node}`"
        )
    if joined is not None:
        raise JoinRefused(f"{node} has joined {mesh} already; `x0tta6bl4 node expel {node}` makes room for another")
    return token


class JoinRepository(Protocol):
    """Tokens that let nodes in, and the credentials of those that came."""

    async def add_token(self, token: JoinToken) -> None:
        """Store a new token."""

    async def token(self, digest: str) -> JoinToken | None:
        """Return the token with this digest, held until this unit ends: of two users at once, one finds it used."""

    async def use_token(self, digest: str, *, by: str) -> None:
        """Write who used it up."""

    async def admit(self, node: JoinedNode, *, password: str) -> None:
        """Store the node, and make its role in the database, which logs in with this password.

        Raises:
            JoinRefused: its name or its role is taken.
        """

    async def expel(self, mesh: str, node: str) -> bool:
        """Forget a node and drop its role, with its sessions; False when it had not joined."""

    async def get(self, mesh: str, node: str) -> JoinedNode | None:
        """Return a node that has joined."""

    async def of_pass(self, digest: str) -> JoinedNode | None:
        """Return whose pass has this digest."""

    async def of_mesh(self, mesh: str) -> list[JoinedNode]:
        """Return who has joined, by name."""
