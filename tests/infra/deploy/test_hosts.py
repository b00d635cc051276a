"""What runs on one host: compose and the systemd units name programs that exist, and open no door by default."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import flows.agent
import flows.cli
from infra.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "infra" / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
COMPOSE = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
OURS = {name: one for name, one in COMPOSE["services"].items() if one["image"].startswith("x0tta6bl4")}
MONITORING = {name: one for name, one in COMPOSE["services"].items() if "monitoring" in one.get("profiles", ())}


def exists(module: str) -> bool:
    path = ROOT / Path(*module.split("."))
    return path.with_suffix(".py").exists() or (path / "__main__.py").exists()


@pytest.mark.parametrize("name", OURS)
def test_a_container_of_ours_has_a_read_only_root_and_no_capability_but_a_nodes_three(name):
    one = OURS[name]
    assert one["read_only"]
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert not one.get("privileged", False)
    assert set(one.get("cap_add", ())) == ({"BPF", "PERFMON", "NET_ADMIN"} if name == "node" else set())


@pytest.mark.parametrize("name", OURS)
def test_a_container_of_ours_starts_a_module_that_exists(name):
    command = OURS[name]["command"]
    assert command[:2] == ["python", "-m"]
    assert exists(command[2])


def test_every_port_is_this_machines_only_and_every_password_is_asked_for():
    ports = [port for one in COMPOSE["services"].values() for port in one.get("ports", ())]
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []
    text = (DEPLOY / "compose" / "compose.yaml").read_text()
    asked = set(re.findall(r"\$\{(\w+):\?", text))
    assert re.findall(r"\$\{(\w+):-", text) == []
    example = (DEPLOY / "compose" / ".env.example").read_text()
    assert asked <= set(re.findall(r"^(\w+)=", example, re.MULTILINE))
    assert re.search(r"^\w*(PASSWORD|AUTH)=.", example, re.MULTILINE) is None


def mounted() -> list[str]:
    """Every file and folder of the host that compose mounts."""
    volumes = [volume.split(":")[0] for one in COMPOSE["services"].values() for volume in one.get("volumes", ())]
    return [one for one in volumes if one.startswith(".")]


def test_compose_mounts_what_is_there_or_what_the_operator_is_told_to_make():
    named = {one for one in mounted() if not (DEPLOY / "compose" / one).exists()}
    assert named == {"./nodes", "./shop"}  # places, of whoever has links; plans, of whoever sells
    told = (ROOT / "docs" / "deploy.md").read_text()
    assert [one for one in named if f"`{one.removeprefix('./')}/" not in told] == []


def test_secrets_are_read_from_files_that_nobody_ships():
    files = [one["file"] for one in COMPOSE["secrets"].values()]
    assert len(files) == 3
    assert [one for one in files if (DEPLOY / "compose" / one).exists()] == []
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    private = {f"infra/deploy/compose/{one}" for one in ("secrets/", "shop/", ".env")}
    assert private <= set(ignored)
    told = (ROOT / "docs" / "deploy.md").read_text()
    assert [one for one in files if one.removeprefix("./") not in told] == []


def test_gateway_and_control_sell_by_the_same_file_and_run_without_one():
    gateway, control = OURS["gateway"], OURS["control"]
    assert gateway["env_file"] == control["env_file"] == [{"path": "shop/shop.env", "required": False}]
    assert [name for name in OURS if "shop" in str(OURS[name])] == ["control", "gateway"]


def test_the_gateway_reads_the_places_that_it_gives_to_nodes_which_join():
    (at,) = [one.split(":")[1] for one in OURS["gateway"]["volumes"] if one.startswith("./nodes")]
    assert Settings.model_fields["places"].default == Path(at)


def test_the_monitoring_listens_on_this_machine_alone_with_a_pinned_version_and_a_read_only_root():
    assert sorted(MONITORING) == ["alertmanager", "grafana", "prometheus"]
    for name, one in MONITORING.items():
        assert one["network_mode"] == "host"  # so each must say itself where it listens
        said = [*one.get("command", ()), *(f"{key}={value}" for key, value in one.get("environment", {}).items())]
        listens = [word for word in said if re.search(r"listen-address=|HTTP_ADDR=", word)]
        assert listens, name
        assert [word for word in listens if not re.search(r"=(127\.0\.0\.1(:\d+)?)?$", word)] == []
        assert re.search(r":v?\d+\.\d+\.\d+$", one["image"]), name
        assert one["read_only"], name
        assert one["cap_drop"] == ["ALL"], name


def test_a_node_holds_no_password_of_the_installation_and_keeps_what_it_was_given_on_its_own_volume():
    join, node = OURS["join"], OURS["node"]
    for one in (join, node):
        assert set(one["environment"]) == {"X0_MESH"}
        assert [volume for volume in one["volumes"] if volume.startswith("node:")]
    assert [name for name in OURS if name != "node" and "node:/var/lib/x0tta6bl4" in OURS[name].get("volumes", ())] == [
        "join"
    ]
    (kept,) = [word.removeprefix("--dir=") for word in join["command"] if word.startswith("--dir=")]
    assert node["command"][-2:] == ["--joined", kept]
    assert node["depends_on"] == {"join": {"condition": "service_completed_successfully"}}


def test_a_node_joins_once_with_a_token_that_is_no_argument():
    join = OURS["join"]
    assert "--once" in join["command"]
    assert [word for word in join["command"] if "token" in word] == ["--token-file=/run/secrets/join_token"]
    assert join["secrets"] == ["join_token"]
    # As a node in the host's network reaches it, and not by the name that only containers know.
    port = COMPOSE["services"]["postgres"]["ports"][0].rpartition(":")[0]
    assert COMPOSE["services"]["gateway"]["environment"]["X0_NODE_DATABASE"] == f"{port}/app"


def test_what_a_node_is_told_on_the_command_line_it_understands(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    told = {
        name: [
            re.sub(r"\$\{\w+:\?\}", "n7", word).replace("/var/lib/x0tta6bl4", str(tmp_path)) for word in one["command"]
        ]
        for name, one in OURS.items()
    }
    # Both lack what they are to find, and complain of that; of a wrong option they would complain first.
    assert told["join"][:3] == ["python", "-m", "flows"]
    done = CliRunner().invoke(flows.cli.app, [*told["join"][3:], "--mesh=west"])
    assert "join token" in str(done.exception)
    assert told["node"][:3] == ["python", "-m", "flows.agent"]
    with pytest.raises(SystemExit):
        flows.agent.main(told["node"][3:])
    assert "n7 has not joined" in capsys.readouterr().err


def test_alertmanager_finds_its_token_where_its_configuration_looks():
    (secret,) = MONITORING["alertmanager"]["secrets"]
    assert f"credentials_file: {secret['target']}" in (DEPLOY / "alertmanager" / "alertmanager.yml").read_text()


def test_this_hosts_node_is_scraped_with_the_labels_that_the_rules_need():
    assert MONITORING["prometheus"]["configs"] == [{"source": "nodes", "target": "/etc/prometheus/targets/nodes.yml"}]
    (row,) = yaml.safe_load(COMPOSE["configs"]["nodes"]["content"])
    assert set(row["labels"]) == {"mesh", "node"}
    assert row["targets"] == ["127.0.0.1:9464"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda one: one.stem)
def test_a_unit_starts_what_exists(unit):
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment]
    parser.read(unit)
    program, *words = parser["Service"]["ExecStart"].split()
    assert program.startswith("/opt/x0tta6bl4/.venv/bin/")
    if words[0] == "-m":
        assert exists(words[1])


def test_the_collector_has_three_rights_and_no_more():
    text = (DEPLOY / "systemd" / "x0tta6bl4-node.service").read_text()
    assert re.findall(r"^CapabilityBoundingSet=(.*)$", text, re.MULTILINE) == ["CAP_BPF CAP_PERFMON CAP_NET_ADMIN"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda one: one.stem)
def test_whoever_logs_in_to_the_database_has_a_home_that_it_may_look_into(unit: Path):
    """The driver looks for certificates there, and fails where it may not: seen with ProtectHome and root's own."""
    said = unit.read_text().splitlines()
    if "infra.node.actuator" in unit.read_text():
        return  # it knows no database
    (state,) = [line.removeprefix("StateDirectory=") for line in said if line.startswith("StateDirectory=")]
    assert "ProtectHome=yes" in said
    assert f"Environment=HOME=/var/lib/{state}" in said


def test_no_image_is_built_from_more_than_its_sources():
    ignored = (DEPLOY / "image" / "Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in ignored
    copied = set(re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOY / "image" / "Dockerfile").read_text(), re.MULTILINE))
    named = {word for line in copied for word in line.split()}
    assert {word.split("/")[0] for word in named} == {one[1:] for one in ignored if one.startswith("!")}
    assert [one for one in named if not (ROOT / one).exists()] == []
