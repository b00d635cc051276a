"""Settings: one frozen object, read once by wiring or the CLI. Environment `X0_*`; secrets have no default."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from infra.environment import FromEnvironment


def default_state_folder() -> Path:
    """Return /var/lib/x0tta6bl4 for root (Postgres' own user must reach it), else the user's XDG state folder."""
    if os.geteuid() == 0:
        return Path("/var/lib/x0tta6bl4")
    return Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local/state")) / "x0tta6bl4"


class Settings(FromEnvironment):
    """Everything an installation can turn, with its unit and its reason."""

    model_config = SettingsConfigDict(env_prefix="X0_", frozen=True)

    state: Path = Field(default_factory=default_state_folder, description="Folder for the cluster, keys, journals.")
    mesh: str = Field(
        default="lab",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$",
        description="Name of the mesh this installation watches.",
    )
    database_url: SecretStr | None = Field(
        default=None,
        validation_alias="DATABASE_URL",
        description="postgresql+asyncpg://...; unset: the private cluster in the state folder.",
    )
    api_host: str = Field(default="127.0.0.1", description="Address the gateway listens on.")
    api_port: int = Field(default=8080, ge=1, le=65535, description="Port the gateway listens on.")
    gateway_node: str | None = Field(
        default=None,
        description="Node whose clients need a licence; unset: none, but the lab's first node when `up --lab` runs.",
    )
    node_metrics_port: int = Field(
        default=9464, ge=1, le=65535, description="Port of a node's /metrics, on its management address."
    )
    tron_metrics_port: int = Field(
        default=9465, ge=1, le=65535, description="Port of /metrics of TRON's scan, on this machine only."
    )
    ton_metrics_port: int = Field(
        default=9466, ge=1, le=65535, description="Port of /metrics of TON's scan, on this machine only."
    )
    node_database: str | None = Field(
        default=None,
        description="How nodes that join reach the app database, HOST:PORT/DATABASE; unset: as DATABASE_URL says.",
    )
    places: Path = Field(
        default=Path("/etc/x0tta6bl4/nodes"), description="Folder of NODE.json, the places given to joining nodes."
    )
    prefect_port: int = Field(default=4200, ge=1, le=65535, description="Port of the Prefect server and its UI.")
    sample_seconds: float = Field(
        default=0.5, ge=0.1, le=60, description="Collector period; two a second keeps detection under two seconds."
    )
    telemetry: str = Field(
        default="postgres",
        description="Where the watch reads samples: postgres, or prometheus:http://HOST:PORT of a server that scrapes "
        "the nodes' /metrics as often as they are sampled.",
    )
    tick_seconds: float = Field(default=0.5, ge=0.1, le=60, description="Watch period.")
    lease_seconds: float = Field(
        default=60, ge=15, le=600, description="How long an unverified change may stand; the lab uses 20."
    )
    clean_seconds_before_restore: float = Field(
        default=600, ge=10, description="A costed-out link must be clean this long before it carries traffic again."
    )
    learn_after_incidents: int = Field(
        default=20,
        ge=0,
        description="A fit starts after so many incidents fixed with proof since the last; 0: only nightly, by hand.",
    )
    sample_retention_seconds: float = Field(
        default=3600, ge=60, description="Raw samples older than this are deleted by the housekeeping flow."
    )
    prefect_run_retention_seconds: int = Field(
        default=259_200, gt=3600, description="Prefect forgets a flow run so long after its end; three days."
    )
    prefect_event_retention_seconds: int = Field(
        default=86_400, ge=60, description="Prefect forgets an event after so long; a day."
    )
