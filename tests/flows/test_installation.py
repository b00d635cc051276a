"""The list of processes: what is started, what it is told, and what must never show."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from prefect.settings import Settings as PrefectSettings

from flows.deploy import posts
from flows.installation import (
    Installation,
    control,
    database,
    environment,
    hands,
    lab_outside,
    server_environment,
)
from flows.up import LAB_LEASE_SECONDS, made_up, settings_for_lab, this_machine
from infra.lab.telegram.living import prepare, url_of
from infra.node.place import Daemon, NodePlace
from infra.settings import Settings
from models.mesh import RoutingDaemon

URL_WITH_A_WORD = "postgresql+asyncpg://app:hunter2@db/app"


def place(node: str, folder: Path, *, is_routed: bool = True) -> NodePlace:
    daemon = Daemon(
        kind=RoutingDaemon.BABELD,
        command=("babeld",),
        pidfile=folder / "pid",
        socket=folder / "socket",
        config=folder / "config",
    )
    return NodePlace(
        mesh="lab", node=node, address="10.42.0.1", folder=folder / node, daemon=daemon if is_routed else None
    )


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(
        settings=Settings(state=tmp_path, prefect_port=4300),
        app_url=URL_WITH_A_WORD,
        prefect_url="postgresql+asyncpg://postgres@/prefect?host=/run/x",
        cluster_command=("postgres", "-D", "data"),
        places=(place("n0", tmp_path), place("n1", tmp_path)),
        heal=True,
    )


def everything(one: Installation) -> dict[str, tuple[str, ...]]:
    return {spec.name: spec.after for spec in (*database(one), *control(one), *hands(one))}


def test_starts_everything_in_order_of_need(installation: Installation) -> None:
    assert everything(installation) == {
        "postgres": (),
        "prefect": ("postgres",),
        "gateway": ("postgres",),
        "deployments": ("postgres",),
        "worker-control": ("prefect",),
        "worker-nodes": ("prefect",),
        "actuator-n0": (),
        "actuator-n1": (),
    }


def test_somebody_elses_databases_are_not_started(installation: Installation, tmp_path: Path) -> None:
    foreign = Installation(installation.settings, URL_WITH_A_WORD, URL_WITH_A_WORD, None, (), heal=True)
    assert everything(foreign)["prefect"] == ()
    assert "postgres" not in everything(foreign)
    assert "worker-nodes" not in everything(foreign)


def test_no_secret_is_on_a_command_line(installation: Installation) -> None:
    for spec in (*database(installation), *control(installation), *hands(installation)):
        assert not any("hunter2" in part for part in spec.command)


def test_actuators_get_no_database_and_their_offspring_stays(installation: Installation) -> None:
    for spec in hands(installation):
        assert "DATABASE_URL" not in spec.env
        assert not spec.marked


def test_a_node_that_is_only_watched_gets_no_actuator(installation: Installation, tmp_path: Path) -> None:
    watched = Installation(
        installation.settings,
        URL_WITH_A_WORD,
        URL_WITH_A_WORD,
        None,
        (place("n9", tmp_path, is_routed=False),),
        heal=True,
    )
    assert hands(watched) == []


def test_without_healing_there_are_no_hands_and_the_deployments_say_so(installation: Installation) -> None:
    quiet = Installation(installation.settings, URL_WITH_A_WORD, URL_WITH_A_WORD, None, installation.places, heal=False)
    assert hands(quiet) == []
    deployments = next(spec for spec in control(quiet) if spec.name == "deployments")
    assert "--no-heal" in deployments.command


def test_every_node_has_its_queue_on_the_nodes_worker(installation: Installation) -> None:
    worker = next(spec for spec in control(installation) if spec.name == "worker-nodes")
    queues = [worker.command[index + 1] for index, part in enumerate(worker.command) if part == "--work-queue"]
    assert queues == ["node-n0", "node-n1"]


def test_children_read_back_the_settings_they_are_given(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(installation).items():
        monkeypatch.setenv(name, value)
    read = Settings()
    assert read.model_copy(update={"database_url": None}) == installation.settings
    assert read.database_url is not None
    assert read.database_url.get_secret_value() == URL_WITH_A_WORD


def test_the_ui_is_told_its_port_and_the_server_is_quiet_and_forgets(installation: Installation) -> None:
    told = server_environment(installation)
    assert told["PREFECT_SERVER_UI_API_URL"] == "http://127.0.0.1:4300/api"
    assert told["DO_NOT_TRACK"] == "1"
    assert told["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert "flow_runs" in told["PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED"]
    assert "PREFECT_API_DATABASE_CONNECTION_URL" not in environment(installation)


def test_prefect_understands_what_its_server_is_told(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in server_environment(installation).items():
        monkeypatch.setenv(name, value)
    read = PrefectSettings()
    assert read.server.services.db_vacuum.enabled == {"events", "flow_runs"}
    assert read.server.services.db_vacuum.retention_period == timedelta(days=3)
    assert read.server.events.retention_period == timedelta(days=1)
    assert read.server.analytics_enabled is False
    assert read.server.ui.api_url == installation.prefect_api
    assert read.worker.query_seconds == 1


def test_prefect_remembers_as_long_as_the_settings_say(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorter = {"prefect_run_retention_seconds": 3601, "prefect_event_retention_seconds": 61}
    settings = installation.settings.model_copy(update=shorter)
    for name, value in server_environment(replace(installation, settings=settings)).items():
        monkeypatch.setenv(name, value)
    read = PrefectSettings()
    assert read.server.services.db_vacuum.retention_period == timedelta(seconds=3601)
    assert read.server.events.retention_period == timedelta(seconds=61)


def test_a_lab_has_a_lease_and_a_gateway_of_its_own_unless_others_were_chosen(tmp_path: Path) -> None:
    assert settings_for_lab(Settings(state=tmp_path)).lease_seconds == LAB_LEASE_SECONDS
    assert settings_for_lab(Settings(state=tmp_path, lease_seconds=300)).lease_seconds == 300
    assert settings_for_lab(Settings(state=tmp_path)).gateway_node == "n0"
    assert settings_for_lab(Settings(state=tmp_path, gateway_node="n1")).gateway_node == "n1"


def test_a_machine_without_a_lab_is_a_mesh_of_itself_to_be_watched(tmp_path: Path) -> None:
    mesh, own = this_machine(Settings(state=tmp_path))
    assert [node.id for node in mesh.nodes] == [own.node]
    assert own.daemon is None
    assert own.netns is None


def test_a_post_is_a_role_and_the_deployment_behind_it() -> None:
    made = {"watch-mesh/lab": "w", "collect-node/n0": "c", "heal-mesh/audit": "a"}
    assert posts(made, mesh="lab", nodes=["n0"]) == {"watch-mesh:lab": "w", "collect-node:lab:n0": "c"}


def test_a_lab_is_paid_on_made_up_chains_whatever_the_environment_says(installation: Installation) -> None:
    assert lab_outside(installation) == []
    leads = {"X0_TRONSCAN_URL": "http://127.0.0.1:9/tronscan", "X0_DEPOSIT_TRON": "T-of-the-lab"}
    lab = replace(installation, outside=leads)
    (spec,) = lab_outside(lab)
    assert (spec.name, spec.command[-1]) == ("lab-chains", "infra.lab.chains")
    for one in (spec, *control(lab)):
        if one.name != "prefect":
            assert {name: one.env[name] for name in leads} == leads


def test_a_labs_bot_speaks_to_the_labs_telegram(installation: Installation, tmp_path: Path) -> None:
    lab = replace(installation, outside=prepare(tmp_path))
    (spec,) = lab_outside(lab)
    assert (spec.name, spec.command[-1]) == ("lab-telegram", "infra.lab.telegram")
    gateway = next(one for one in control(lab) if one.name == "gateway")
    assert gateway.env["X0_TELEGRAM_URL"] == url_of(tmp_path)


def test_in_a_lab_a_bot_of_the_operators_own_may_speak_but_no_money_is_real(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("TELEGRAM_BOT_TOKEN", raising=False)
    assert {"X0_TELEGRAM_URL", "X0_DEPOSIT_TRON"} <= made_up(tmp_path).keys()
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "1:real")
    monkeypatch.setenv("X0_DEPOSIT_TRON", "T-real")
    leads = made_up(tmp_path)
    assert "X0_TELEGRAM_URL" not in leads
    assert leads["X0_DEPOSIT_TRON"] != "T-real"
