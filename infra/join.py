"""The reception of a mesh: tokens that can only join, and what a machine gets that shows one."""

from __future__ import annotations

import hashlib
import secrets
from base64 import b64encode
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import structlog

from infra.db.connections import DRIVER, parsed
from infra.node.declared import read_place
from infra.node.signing import PUBLIC_NAME
from infra.settings import Settings
from models.errors import ConfigurationInvalid
from models.joining import JoinedNode, JoinRefused, JoinToken, admit, check_lasting, check_name, role_of
from models.mesh import Mesh, Node, NodeId
from models.ports import Clock, Store

log = structlog.get_logger()

SECRET_BYTES = 32  # 256 bits: a digest without salt is safe because nobody can guess what it is of
# An undeclared node is probed by nobody; declaring it gives it an address.
NOWHERE = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Welcome:
    """What a machine needs to be a node. Two of these are secrets, and kept nowhere here.

    Attributes:
        mesh: The mesh it is part of from now on.
        node: Its name there.
        database_url: The app database, with a role that is this node's alone.
        prefect_auth: `user:password` at the gateway's door to Prefect.
        control_pub: The key that orders are signed with, its public half in base64; None where the gateway has no copy.
        place: The node's place as declared, JSON; None where none is.
    """

    mesh: str
    node: str
    database_url: str
    prefect_auth: str
    control_pub: str | None
    place: str | None


def digest_of(secret: str) -> str:
    """Return the SHA-256 under which a secret is kept, in hexadecimal."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


class Reception:
    """Lets nodes in and out."""

    def __init__(self, store: Store, clock: Clock, settings: Settings) -> None:
        """Take the store, and where the settings say that nodes find the database and places are declared."""
        self._store = store
        self._clock = clock
        self._settings = settings

    async def make_token(self, *, node: str | None, lasts: timedelta, by: str) -> str:
        """Make a token that can only join, once, and return its secret; it is shown this once.

        Args:
            node: The only name it is for; None: any that the mesh declares.
            lasts: For how long.
            by: Who made it, for the record.

        Raises:
            JoinRefused: no node can have this name, or it would last too long.
            ConfigurationInvalid: nobody could reach the database with what it earns.
        """
        if node is not None:
            check_name(node)
        check_lasting(lasts)
        self._database_for("", "")
        secret, now = secrets.token_urlsafe(SECRET_BYTES), self._clock.now()
        async with self._store.unit() as unit:
            await unit.joins.add_token(JoinToken(digest_of(secret), self._settings.mesh, node, by, now, now + lasts))
        return secret

    async def join(self, secret: str, node: str, *, mesh: str) -> Welcome:
        """Let a machine in as a node: use the token up, make its role and its pass.

        Raises:
            JoinRefused: the token does not let it in under this name.
            ConfigurationInvalid: it could not reach the database with what it earns; nothing happened.
        """
        check_name(node)
        if mesh != self._settings.mesh:
            raise JoinRefused(f"this gateway is of mesh {self._settings.mesh}, not {mesh}")
        password, shown = secrets.token_urlsafe(SECRET_BYTES), secrets.token_urlsafe(SECRET_BYTES)
        one = JoinedNode(mesh, node, role_of(mesh, node), digest_of(shown), self._clock.now())
        digest = digest_of(secret)
        async with self._store.unit() as unit:
            token = await unit.joins.token(digest)
            declared = await unit.meshes.load(mesh)
            known = await unit.joins.get(mesh, node)
            admit(token, node, mesh=mesh, declared=declared, joined=known, now=self._clock.now())
            # Only now: what this installation lacks is nothing to tell a stranger.
            place, control_pub = self._place(node), self._control_pub()
            database_url = self._database_for(one.role, password)
            await unit.joins.use_token(digest, by=node)
            await unit.joins.admit(one, password=password)
            before = declared or Mesh(mesh, (), ())
            if node not in {other.id for other in before.nodes}:
                await unit.meshes.save(Mesh(mesh, (*before.nodes, Node(NodeId(node), NOWHERE)), before.links))
        log.info("node joined", mesh=mesh, node=node, role=one.role)
        return Welcome(mesh, node, database_url, f"{node}:{shown}", control_pub, place)

    async def expel(self, node: str) -> None:
        """Take a node's credentials back: its role, its sessions, its pass. What it measured stays.

        Raises:
            JoinRefused: it has none.
        """
        mesh = self._settings.mesh
        async with self._store.unit() as unit:
            if not await unit.joins.expel(mesh, node):
                raise JoinRefused(f"{node} has not joined {mesh}; there is nothing to take back")

    async def of_pass(self, node: str, shown: str) -> JoinedNode | None:
        """Return the node whose pass this is; None when it is none, or another's."""
        async with self._store.unit() as unit:
            found = await unit.joins.of_pass(digest_of(shown))
        return found if found is not None and (found.node, found.mesh) == (node, self._settings.mesh) else None

    def _database_for(self, role: str, password: str) -> str:
        """Return the app database's address as a node reaches it, with its own credentials."""
        told, own = self._settings.node_database, self._settings.database_url
        try:
            address = parsed(f"{DRIVER}://{told}") if told else parsed(own.get_secret_value()) if own else None
        except ConfigurationInvalid:
            if not told:
                raise
            raise ConfigurationInvalid("X0_NODE_DATABASE is no address", "write HOST:PORT/DATABASE") from None
        # A socket of this machine is a way in only for who was told so: the private cluster lets no node in.
        if address is None or not (address.host or (told and "host" in address.query)):
            raise ConfigurationInvalid(
                "this installation's database has no address that other machines reach",
                "use a database server (DATABASE_URL), or say how nodes reach it: X0_NODE_DATABASE=HOST:5432/DATABASE",
            )
        return address.set(username=role, password=password).render_as_string(hide_password=False)

    def _place(self, node: str) -> str | None:
        declared = self._settings.places / f"{node}.json"
        return read_place(declared, mesh=self._settings.mesh).model_dump_json(indent=1) if declared.exists() else None

    def _control_pub(self) -> str | None:
        file: Path = self._settings.state / PUBLIC_NAME
        return b64encode(file.read_bytes()).decode() if file.exists() else None
