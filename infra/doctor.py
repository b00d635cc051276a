"""What an installation needs of its machine beside the kernel: programs, Postgres, a Prefect that answers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import httpx

from infra.settings import Settings

ANSWER_SECONDS = 2.0  # a server that needs longer is no use to a person who waits for the answer
ADMIN_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"
POSTGRES_FOLDER = Path("/usr/lib/postgresql")

TOOLS = (
    ("ip", "iproute2", "network namespaces of the lab", True),
    ("nft", "nftables", "faults in the lab", True),
    ("babeld", "babeld", "routing in the lab", True),
    ("birdc", "bird2", "comparing with BIRD in the lab", False),
    ("setpriv", "util-linux", "processes that die with their supervisor", True),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One need.

    Attributes:
        name: Short and stable.
        ok: Whether it is met.
        found: What was seen.
        mend: What to do about it; empty when it is met.
        is_required: False where the mesh is healed without it.
    """

    name: str
    ok: bool
    found: str
    mend: str
    is_required: bool = True


def tools(path: str | None = None) -> tuple[Finding, ...]:
    """Look for the system's programs.

    Args:
        path: Folders to search, joined by colons; None: PATH and the folders of administration.
    """
    folders = path if path is not None else f"{os.environ.get('PATH', '')}:{ADMIN_FOLDERS}"
    return tuple(_tool(*tool, folders=folders) for tool in TOOLS)


def _tool(name: str, package: str, purpose: str, required: bool, *, folders: str) -> Finding:  # noqa: FBT001 - a row
    where = shutil.which(name, path=folders)
    if where is not None:
        return Finding(name, ok=True, found=where, mend="", is_required=required)
    mend = f"apt-get install {package} ({purpose})"
    return Finding(name, ok=False, found="not found", mend=mend, is_required=required)


def postgres(folder: Path = POSTGRES_FOLDER) -> Finding:
    """Look for a Postgres with its contrib extensions; Prefect's database needs pg_trgm."""
    name = "postgres"
    found = sorted(folder.glob("*/bin/initdb"), key=lambda one: one.parts[-3], reverse=True)
    if not found:
        return Finding(name, ok=False, found="not found", mend="apt-get install postgresql-15 postgresql-contrib")
    version = found[0].parts[-3]
    extension = Path(f"/usr/share/postgresql/{version}/extension/pg_trgm.control")
    if folder == POSTGRES_FOLDER and not extension.exists():
        mend = f"apt-get install postgresql-contrib (pg_trgm of Postgres {version} is missing)"
        return Finding(name, ok=False, found=str(found[0].parent), mend=mend)
    return Finding(name, ok=True, found=str(found[0].parent), mend="")


def state_folder(settings: Settings) -> Finding:
    """See whether the state folder can be written."""
    nearest = next(one for one in (settings.state, *settings.state.parents) if one.exists())
    ok = os.access(nearest, os.W_OK | os.X_OK)
    mend = "" if ok else f"make {settings.state} yours, or set X0_STATE to a folder that is"
    return Finding("state folder", ok=ok, found=str(settings.state), mend=mend)


async def servers(settings: Settings, *, transport: httpx.AsyncBaseTransport | None = None) -> tuple[Finding, ...]:
    """Ask Prefect and the gateway whether they are well. Neither is required: before `up` none answers."""
    asked = {
        "prefect": f"http://127.0.0.1:{settings.prefect_port}/api/health",
        "gateway": f"http://{settings.api_host}:{settings.api_port}/health",
    }
    async with httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False, transport=transport) as client:
        return tuple([await _server(client, name, url) for name, url in asked.items()])


async def _server(client: httpx.AsyncClient, name: str, url: str) -> Finding:
    try:
        answer = await client.get(url)
    except httpx.TransportError as error:
        found = f"{url}: {str(error) or type(error).__name__}"
        return Finding(name, ok=False, found=found, mend="start `x0tta6bl4 up`", is_required=False)
    mend = "" if answer.is_success else f"read the state folder's log/{name}.log"
    found = f"{url}: {answer.status_code}"
    return Finding(name, ok=answer.is_success, found=found, mend=mend, is_required=False)


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 1 when something required is missing, else 0."""
    return int(any(not one.ok and one.is_required for one in findings))
