"""What runs in one installation, as a list: every process, its environment, and what it waits for."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx

from infra.node.place import NodePlace
from infra.settings import Settings
from infra.supervisor import ProcessSpec

POOL = "mesh"
CONTROL_QUEUE = "control"
CHECK_SECONDS = 2.0  # a server that needs longer to say it is well is not ready yet
SERVER_SECONDS = 180.0  # the first start migrates Prefect's database: 18 s measured, several times that on a busy disk
TEMPORARY = "tmp"
CODE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Installation:
    """One installation, as its processes need to know it.

    Attributes:
        settings: As read.
        app_url: The app database, `postgresql+asyncpg://...`.
        prefect_url: Prefect's database, the same way.
        cluster_command: Runs the private Postgres in the foreground; None: both databases are somebody else's.
        places: The nodes that live on this machine.
        heal: Off: watch and record only; no node gets an actuator.
        outside: Environment that leads to a lab's made-up chains, and to its Telegram unless the operator named a bot,
            whatever the operator's says; None: the real ones.
        prefect: Where somebody else's Prefect answers, `http://prefect:4200/api`; None: our own, on this machine.
    """

    settings: Settings
    app_url: str
    prefect_url: str
    cluster_command: tuple[str, ...] | None
    places: tuple[NodePlace, ...]
    heal: bool
    outside: Mapping[str, str] | None = None
    prefect: str | None = None

    @property
    def prefect_api(self) -> str:
        """Where Prefect's API answers."""
        return self.prefect or f"http://127.0.0.1:{self.settings.prefect_port}/api"

    @property
    def gateway(self) -> str:
        """Where the gateway answers."""
        return f"http://{self.settings.api_host}:{self.settings.api_port}"


def queue_of(node: str) -> str:
    """Return the work queue of a node."""
    return f"node-{node}"


def environment(installation: Installation) -> dict[str, str]:
    """Return what every process of ours is told. Passwords in the URLs travel here, never on a command line."""
    settings = installation.settings
    ours = {
        f"X0_{name.upper()}": str(value)
        for name, value in settings.model_dump(exclude={"database_url"}).items()
        if value is not None
    }
    return {
        **ours,
        **(installation.outside or {}),
        "DATABASE_URL": installation.app_url,
        "DO_NOT_TRACK": "1",
        "PREFECT_HOME": str(settings.state / "prefect"),
        # Prefect's runner keeps a folder by a fixed name in there, which another user's runner may own already.
        "TMPDIR": str(settings.state / TEMPORARY),
        "PREFECT_API_URL": installation.prefect_api,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # Nothing of ours is worth a look at somebody else's Prefect profile.
        "PREFECT_PROFILES_PATH": str(settings.state / "prefect" / "profiles.toml"),
        # A worker asks this often for runs; with the default of ten a successor would come ten seconds late.
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        # Prefect asks one thing synchronously at each flow's start, inside our event loop. With its default of 60 s a
        # server that hangs would stop the watch and its beat for that long; a beat may be 5 s old.
        "PREFECT_API_REQUEST_TIMEOUT": "4",
        # Packages are byte-compiled at set-up; a run that compiles them again starts four seconds later.
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }


def server_environment(installation: Installation) -> dict[str, str]:
    """Return what only the Prefect server is told: its database, its UI, and how long it remembers."""
    settings = installation.settings
    return {
        **environment(installation),
        "PREFECT_API_DATABASE_CONNECTION_URL": installation.prefect_url,
        # The UI is a page in somebody's browser: it must be told the port, or it calls 4200.
        "PREFECT_SERVER_UI_API_URL": installation.prefect_api,
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": f"PT{settings.prefect_run_retention_seconds}S",
        "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": f"PT{settings.prefect_event_retention_seconds}S",
        # A run that died is marked by the watchdog; a schedule looks this often whether one is due.
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "30",
    }


def database(installation: Installation) -> list[ProcessSpec]:
    """Return the private Postgres, or nothing when the databases are somebody else's."""
    if installation.cluster_command is None:
        return []

    async def answers() -> bool:
        return await _databaseanswers(installation.app_url)

    return [
        ProcessSpec(
            "postgres",
            installation.cluster_command,
            ready=answers,
            # INT is Postgres' fast shutdown; TERM would wait for every client to leave.
            stop_signal=signal.SIGINT,
            stop_seconds=20.0,
        )
    ]


def lab_outside(installation: Installation) -> list[ProcessSpec]:
    """Return the made-up chains that a lab is paid on and its own Telegram, or nothing where they are real."""
    leads = installation.outside or {}
    made_up = []
    if "X0_TRONSCAN_URL" in leads:
        made_up.append(("lab-chains", "infra.lab.chains", f"{leads['X0_TRONSCAN_URL']}/api/block"))
    if "X0_TELEGRAM_URL" in leads:
        url = f"{leads['X0_TELEGRAM_URL']}/bot{leads['TELEGRAM_BOT_TOKEN']}/getMe"
        made_up.append(("lab-telegram", "infra.lab.telegram", url))
    ours = environment(installation)
    return [
        ProcessSpec(name, (sys.executable, "-m", module), env=ours, cwd=CODE, ready=answers(url))
        for name, module, url in made_up
    ]


def control(installation: Installation) -> list[ProcessSpec]:
    """Return the Prefect server, the gateway, the deployments step, and the workers."""
    settings = installation.settings
    needs = ("postgres",) if installation.cluster_command else ()
    python = sys.executable
    ours = environment(installation)
    specs = [
        ProcessSpec(
            "prefect",
            (python, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(settings.prefect_port)),
            env=server_environment(installation),
            ready=answers(f"{installation.prefect_api}/health"),
            ready_seconds=SERVER_SECONDS,
            stop_seconds=10.0,
            after=needs,
        ),
        ProcessSpec(
            "gateway",
            (python, "-m", "infra.api"),
            env=ours,
            cwd=CODE,
            ready=answers(f"{installation.gateway}/health"),
            after=needs,
        ),
        ProcessSpec(
            "deployments",
            deploy_command(installation),
            env=ours,
            cwd=CODE,
            restart=False,
            # It imports every flow while the server starts, and waits for the server itself.
            after=needs,
        ),
        worker(installation, "worker-control", queues=(CONTROL_QUEUE,)),
    ]
    if installation.places:
        queues = tuple(queue_of(place.node) for place in installation.places)
        specs.append(worker(installation, "worker-nodes", queues=queues))
    return specs


def deploy_command(installation: Installation) -> tuple[str, ...]:
    """Return the step that makes Prefect agree with the table of deployments; it imports every flow, we do not."""
    nodes = (f"--node={place.node}={place.folder / 'node.json'}" for place in installation.places)
    heal = "--heal" if installation.heal else "--no-heal"
    return (sys.executable, "-m", "flows.deploy", heal, *nodes)


def worker(
    installation: Installation, name: str, *, queues: Sequence[str], after: Sequence[str] = ("prefect",)
) -> ProcessSpec:
    """Return a process worker for these queues.

    The nodes that share this machine share a worker: a queue each keeps them apart, while a worker each would cost
    100 MB, three seconds of start and a poll every second for nothing. On machines of their own they have their own.
    """
    asked = tuple(part for queue in queues for part in ("--work-queue", queue))
    return ProcessSpec(
        name,
        (
            sys.executable,
            "-m",
            "prefect",
            "worker",
            "start",
            "--type",
            "process",
            "--pool",
            POOL,
            "--name",
            name,
            *asked,
        ),
        env=environment(installation),
        cwd=CODE,
        # Process workers were seen to ignore TERM; their runs end with them, by the mark.
        stop_seconds=5.0,
        after=tuple(after),
    )


def hands(installation: Installation) -> list[ProcessSpec]:
    """Return one actuator per node that may be acted on."""
    if not installation.heal:
        return []
    return [
        ProcessSpec(
            f"actuator-{place.node}",
            (
                sys.executable,
                "-m",
                "infra.node.actuator",
                "--place",
                str(place.folder / "node.json"),
                "--key",
                str(installation.settings.state / "control.pub"),
            ),
            cwd=CODE,
            ready=_listens(place.actuator_socket),
            # It undoes what nobody verified before it leaves: a routing daemon's restart takes seconds.
            stop_seconds=15.0,
            # A routing daemon that it restarted belongs to the node, not to us.
            marked=False,
        )
        for place in installation.places
        if place.daemon is not None
    ]


def answers(url: str) -> Callable[[], Awaitable[bool]]:
    """Return a check that asks a server whether it is well."""

    async def check() -> bool:
        try:
            async with httpx.AsyncClient(timeout=CHECK_SECONDS, trust_env=False) as client:
                return (await client.get(url)).is_success
        except httpx.TransportError:
            return False

    return check


def _listens(socket: Path) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        try:
            _, writer = await asyncio.open_unix_connection(socket)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    return check


async def _databaseanswers(url: str) -> bool:
    try:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""), timeout=CHECK_SECONDS)
    except (OSError, TimeoutError, asyncpg.PostgresError):
        return False
    await connection.close()
    return True
