"""The chart under the real helm: it renders over every set of values in ci/, Kubernetes takes what it renders, and no
container gets more than it needs. `scripts/chart-tools.sh` brings helm and the schemas; nothing here asks a cluster.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "infra" / "deploy" / "helm" / "x0tta6bl4"
TOOLS = Path(os.environ.get("X0_CHART_TOOLS", ROOT / ".setup" / "chart"))
HELM = shutil.which("helm", path=f"{TOOLS}:{os.environ['PATH']}")
VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
VERSIONS = ("v1.29.0", "v1.33.0", "v1.37.0")  # the oldest the chart takes, one between, the newest the schemas know
OPERATORS = {"monitoring.coreos.com/v1"}  # resources of others, whose schemas Kubernetes does not carry

pytestmark = pytest.mark.skipif(HELM is None, reason="helm is not here: scripts/chart-tools.sh gets it")


def helm(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([HELM, *words], capture_output=True, text=True, check=False)


@cache
def rendered(values: Path, *words: str) -> tuple[dict, ...]:
    done = helm("template", "west", str(CHART), "--namespace", "mesh", "-f", str(values), *words)
    assert done.returncode == 0, done.stderr
    return tuple(one for one in yaml.safe_load_all(done.stdout) if one)


def named(path: Path) -> str:
    return path.stem


def pods(values: Path) -> dict[str, dict]:
    """Pod specs by component."""
    found = {}
    for one in rendered(values):
        spec = one if one["kind"] == "Pod" else one.get("spec", {}).get("template")
        if spec:
            found[one["metadata"]["labels"]["app.kubernetes.io/component"]] = spec["spec"]
    return found


def containers(values: Path) -> dict[str, dict]:
    all_pods = pods(values).values()
    return {one["name"]: one for pod in all_pods for one in (*pod.get("initContainers", ()), *pod["containers"])}


@pytest.mark.parametrize("values", VALUES, ids=named)
def test_helm_finds_nothing_to_complain_of(values):
    done = helm("lint", "--strict", str(CHART), "-f", str(values))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("values", VALUES, ids=named)
def test_kubernetes_takes_everything_that_is_rendered(values, version):
    folder = TOOLS / "schemas" / f"{version}-local-strict"
    if not folder.is_dir():
        pytest.skip(f"no schemas of Kubernetes {version}: scripts/chart-tools.sh gets them")

    def retrieve(uri: str) -> Resource:
        # Definitions are named by an absolute path; all lie in the one folder.
        text = (folder / Path(uri).name).read_text()
        return Resource.from_contents(json.loads(text), default_specification=DRAFT202012)

    for one in rendered(values):
        if one["apiVersion"] in OPERATORS:
            continue
        group = one["apiVersion"].removesuffix(".k8s.io/v1").replace("/", "-")
        group = f"{group}-v1" if one["apiVersion"].endswith(".k8s.io/v1") else group
        name = f"{one['kind'].lower()}-{group}.json"
        checker = Draft202012Validator({"$ref": name}, registry=Registry(retrieve=retrieve))
        assert [f"{name} {error.json_path}: {error.message}" for error in checker.iter_errors(one)] == []


@pytest.mark.parametrize("values", VALUES, ids=named)
def test_no_container_is_privileged_and_each_has_only_the_capabilities_it_needs(values):
    allowed = {"collector": {"BPF", "PERFMON", "NET_ADMIN"}, "actuator": {"NET_ADMIN"}}
    for name, one in containers(values).items():
        security = one["securityContext"]
        assert security["readOnlyRootFilesystem"], name
        assert not security["allowPrivilegeEscalation"], name
        assert not security.get("privileged", False), name
        assert security["capabilities"]["drop"] == ["ALL"], name
        assert set(security["capabilities"].get("add", ())) == allowed.get(name, set()), name


@pytest.mark.parametrize("values", VALUES, ids=named)
def test_only_a_node_is_uid_0_or_in_the_hosts_network_and_nobody_gets_a_token_of_the_cluster(values):
    for name, pod in pods(values).items():
        assert pod["automountServiceAccountToken"] is False, name
        assert pod.get("hostNetwork", False) == (name == "node"), name
        if name != "node":
            assert pod["securityContext"]["runAsNonRoot"], name


@pytest.mark.parametrize("values", VALUES, ids=named)
def test_no_pod_reads_a_services_variables_for_its_settings(values):
    """A release called x0 has a Service x0-prefect, and Kubernetes would set X0_PREFECT_PORT=tcp://10.0.0.1:4200."""
    assert {name: pod.get("enableServiceLinks") for name, pod in pods(values).items()} == dict.fromkeys(
        pods(values), False
    )


@pytest.mark.parametrize("values", VALUES, ids=named)
def test_no_secret_is_made_or_written_down(values):
    assert [one for one in rendered(values) if one["kind"] == "Secret"] == []
    for name, one in containers(values).items():
        for variable in one.get("env", ()):
            if "URL" in variable["name"] and "DATABASE" in variable["name"]:
                assert "secretKeyRef" in variable["valueFrom"], name
            assert not ("AUTH" in variable["name"] and "value" in variable), name


@pytest.mark.parametrize("values", VALUES, ids=named)
def test_whatever_serves_long_has_a_probe_and_limits(values):
    for name, one in containers(values).items():
        assert "memory" in one["resources"]["limits"], name
        if name not in {"migrate", "ready", "actuator", "join"}:
            assert "livenessProbe" in one, name


def test_by_default_a_mesh_is_only_watched_and_full_adds_the_hands():
    default, full = (containers(CHART / "ci" / f"{one}-values.yaml") for one in ("default", "full"))
    assert "actuator" not in default
    assert "actuator" in full
    assert (default["control"]["command"][-1], full["control"]["command"][-1]) == ("--no-heal", "--heal")
    assert not [one for one in full["actuator"].get("env", ()) if one["name"] != "NODE_NAME"]


def mounts(values: Path, container: str) -> dict[str, str]:
    return {one["mountPath"]: one["name"] for one in containers(values)[container]["volumeMounts"]}


def test_gateway_and_control_sell_by_the_same_plans_and_a_node_knows_none():
    full = CHART / "ci" / "full-values.yaml"
    for name in ("gateway", "control"):
        (told,) = [one["value"] for one in containers(full)[name]["env"] if one["name"] == "X0_PLANS"]
        assert mounts(full, name)[str(Path(told).parent)] == "plans"
        (volume,) = [one["configMap"] for one in pods(full)[name]["volumes"] if one["name"] == "plans"]
        assert volume == {"name": "west-plans", "items": [{"key": "plans.yaml", "path": Path(told).name}]}
    assert "plans" not in str(pods(full)["node"])
    assert "X0_PLANS" not in str(rendered(CHART / "ci" / "default-values.yaml"))


def test_the_gateway_has_what_it_gives_to_a_node_that_joins():
    at = mounts(CHART / "ci" / "full-values.yaml", "gateway")
    assert at["/etc/x0tta6bl4/nodes"] == "places"  # the default of X0_PLACES
    assert at["/var/lib/x0tta6bl4/control.pub"] == "keys"


def test_the_actuator_never_sees_the_private_half_of_the_key():
    (keys,) = [one for one in pods(CHART / "ci" / "full-values.yaml")["node"]["volumes"] if one["name"] == "keys"]
    assert keys["secret"]["items"] == [{"key": "control.pub", "path": "control.pub"}]


@pytest.mark.parametrize("name", ["default", "bundled", "full"])
def test_a_node_gets_no_secret_but_the_token_it_joins_with_and_the_public_key(name):
    pod = pods(CHART / "ci" / f"{name}-values.yaml")["node"]
    for one in (*pod["initContainers"], *pod["containers"]):
        assert "envFrom" not in one
        assert not [variable for variable in one.get("env", ()) if "secretKeyRef" in str(variable)], one["name"]
        assert not {"DATABASE_URL", "PREFECT_API_AUTH_STRING"} & {variable["name"] for variable in one.get("env", ())}
    secrets = {one["name"]: one["secret"] for one in pod["volumes"] if "secret" in one}
    assert set(secrets) - {"keys"} == {"tokens"}
    assert [one["name"] for one in (*pod["initContainers"], *pod["containers"]) if "tokens" in str(one)] == ["join"]
    # A node that has joined outlives the secret.
    assert secrets["tokens"]["optional"]


def test_a_node_joins_once_and_keeps_what_it_was_given_on_its_own_host():
    values = CHART / "ci" / "default-values.yaml"
    join, collector = containers(values)["join"], containers(values)["collector"]
    assert "--once" in join["command"]
    assert join["command"][-1] == "http://west-gateway.mesh.svc:8080"
    kept = "/var/lib/x0tta6bl4/joined"
    assert (join["args"][-1], collector["args"][-1]) == (kept, kept)
    assert join["args"][:2] == ["--token-file", "/run/x0tta6bl4/join/$(NODE_NAME)"]
    mounts = {
        one["name"]: [mount for mount in one["volumeMounts"] if mount["mountPath"] == kept] for one in (join, collector)
    }
    assert [len(found) for found in mounts.values()] == [1, 1]
    assert mounts["collector"][0]["readOnly"]
    (volume,) = [one for one in pods(values)["node"]["volumes"] if one["name"] == mounts["join"][0]["name"]]
    assert volume["hostPath"]["type"] == "DirectoryOrCreate"


def test_nodes_reach_the_gateway_and_the_database_and_prefect_only_behind_the_gateway():
    policies = {
        one["metadata"]["name"]: one["spec"]
        for one in rendered(CHART / "ci" / "full-values.yaml")
        if one["kind"] == "NetworkPolicy"
    }
    let_in = {name for name, spec in policies.items() if "192.0.2.0/24" in str(spec)}
    assert let_in == {"west-gateway", "west-postgres"}


def test_a_nodes_queue_is_named_by_the_downward_api():
    collector = containers(CHART / "ci" / "default-values.yaml")["collector"]
    assert collector["args"][:2] == ["--name", "$(NODE_NAME)"]
    fields = {
        one["name"]: one["valueFrom"]["fieldRef"]["fieldPath"] for one in collector["env"] if "fieldRef" in str(one)
    }
    assert fields == {"NODE_NAME": "spec.nodeName", "HOST_IP": "status.hostIP"}


@pytest.mark.parametrize(("name", "hook"), [("default", "pre-install"), ("bundled", "post-install")])
def test_migrations_run_as_a_hook_once_there_is_a_database(name, hook):
    (job,) = [one for one in rendered(CHART / "ci" / f"{name}-values.yaml") if one["kind"] == "Job"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == f"{hook},pre-upgrade"


def test_every_module_a_container_starts_exists():
    for values in VALUES:
        for one in containers(values).values():
            command = one.get("command", [])
            if command[:2] == ["python", "-m"]:
                module = ROOT / Path(*command[2].split("."))
                assert module.with_suffix(".py").exists() or (module / "__main__.py").exists(), command


def monitors() -> dict[str, dict]:
    """What the Prometheus operator gets, by kind."""
    found = {one["kind"]: one["spec"] for one in rendered(CHART / "ci" / "full-values.yaml")}
    return {kind: found[kind] for kind in ("ServiceMonitor", "PodMonitor", "PrometheusRule")}


def test_the_operator_gets_the_very_rules_that_a_host_has():
    files = sorted((ROOT / "infra" / "deploy" / "prometheus" / "rules").glob("*.yml"))
    assert monitors()["PrometheusRule"] == {
        "groups": [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    }


def test_scraped_by_the_operator_jobs_and_nodes_are_named_as_the_rules_name_them():
    found = monitors()
    jobs = {kind: found[kind]["selector"]["matchLabels"][found[kind]["jobLabel"]] for kind in found if kind[-1] == "r"}
    assert jobs == {"ServiceMonitor": "gateway", "PodMonitor": "node"}
    (endpoint,) = found["PodMonitor"]["podMetricsEndpoints"]
    assert {one["targetLabel"] for one in endpoint["relabelings"]} == {"mesh", "node"}


def test_the_operator_gets_nothing_unless_it_is_asked_for():
    kinds = {one["kind"] for one in rendered(CHART / "ci" / "default-values.yaml")}
    assert not kinds & {"ServiceMonitor", "PodMonitor", "PrometheusRule"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "gateway.replica=3"], "replica"),
        (["--set", "images.control.digest=latest"], "digest"),
        (["--set", "prefect.enabled=false"], "prefect.url"),
        (["--set", "node.gatewayUrl=gateway:8080"], "gatewayUrl"),
        (["--set", "secrets.join="], "join"),
        (["--set", "actuator.enabled=true"], "control.pub"),
        (["--set", "actuator.enabled=true", "--set", "secrets.keys=k"], "places"),
    ],
)
def test_values_that_cannot_work_are_refused_with_their_name(words, said):
    done = helm("template", "west", str(CHART), *words)
    assert done.returncode != 0
    assert said in done.stderr
