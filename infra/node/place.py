"""Where a node is and what it touches: the one file (`node.json`) that its collector and its actuator read."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.errors import ConfigurationInvalid
from models.mesh import RoutingDaemon


class LinkEnd(BaseModel):
    """One mesh interface of this node and what is at its far side."""

    model_config = ConfigDict(frozen=True)

    interface: str = Field(description="Name in the node's namespace, e.g. to-n1.")
    address: str = Field(description="Our IPv4 address on the link.")
    peer: str = Field(description="The far node's name.")
    peer_address: str = Field(description="The far end's IPv4 address on the link.")
    peer_loopback: str = Field(description="The far node's loopback address.")
    cost: int = Field(description="Configured routing cost when healthy.")


class Reach(BaseModel):
    """A node to probe from loopback to loopback."""

    model_config = ConfigDict(frozen=True)

    node: str
    address: str


class Daemon(BaseModel):
    """The routing daemon as the actuator may restart and re-cost it."""

    model_config = ConfigDict(frozen=True)

    kind: RoutingDaemon
    command: tuple[str, ...] = Field(description="Starts the daemon in the foreground, inside the node's namespace.")
    pidfile: Path
    socket: Path = Field(description="babeld's local configuration socket, or BIRD's control socket.")
    config: Path


class GatePlace(BaseModel):
    """Where clients come in at a gateway node."""

    model_config = ConfigDict(frozen=True)

    interfaces: tuple[str, ...] = Field(min_length=1, description="Client interfaces; nothing of the mesh.")


class NodePlace(BaseModel):
    """A node's place in the world."""

    model_config = ConfigDict(frozen=True)

    mesh: str
    node: str
    address: str = Field(description="Loopback address, announced into the mesh.")
    management: str | None = Field(default=None, description="Address on the management network; None without one.")
    netns: str | None = Field(default=None, description="Named network namespace; None: this process's own.")
    folder: Path = Field(description="Journal, sockets and this file; only root and the node's own processes.")
    links: tuple[LinkEnd, ...] = ()
    reach: tuple[Reach, ...] = ()
    daemon: Daemon | None = Field(default=None, description="None: watch-only as far as routing goes.")

    gate: GatePlace | None = Field(default=None, description="None: no gateway; whoever reaches the node may pass.")

    @property
    def actuator_socket(self) -> Path:
        """Where the actuator listens."""
        return self.folder / "actuator.sock"

    def save(self) -> None:
        """Write `node.json` into the node's folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "node.json").write_text(self.model_dump_json(indent=1))

    @classmethod
    def load(cls, path: Path) -> NodePlace:
        """Read `node.json`.

        Raises:
            ConfigurationInvalid: the file is missing or not a place.
        """
        try:
            return cls.model_validate_json(path.read_text())
        except (OSError, ValidationError) as error:
            raise ConfigurationInvalid(f"{path} is no node place ({error})", "write it again") from error
