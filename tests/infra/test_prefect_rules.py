"""What a node may ask of Prefect: what a worker was seen to ask, of its own things; every step beside it is refused."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.prefect_door import ANSWER_BYTES, PrefectDoor
from infra.prefect_rules import Call, Forbidden, Kind, Thing, is_own, things_of
from models.errors import ConfigurationInvalid, SourceUnavailable

ID = "9bd0e59b-7a82-486b-97b3-d56bfea23311"
RUN = "64228a52-1114-4c06-be7b-e9277c844699"
DEPLOYMENT = {
    "flow_id": ID,
    "name": "n7",
    "work_queue_name": "node-n7",
    "work_pool_name": "mesh",
    "entrypoint": "flows.collection.collect_node",
    "parameters": {"asked": {"node": "n7"}},
    "schedules": [],
    "paused": False,
    "pull_steps": [],
}
CHANGE = {name: value for name, value in DEPLOYMENT.items() if name not in {"flow_id", "name"}}
STARTED = {"state": {"type": "SCHEDULED", "name": "Scheduled"}}
LINE = {"name": "n", "level": 20, "message": "m", "timestamp": "2026-01-01T00:00:00Z", "flow_run_id": RUN}

# As recorded from `python -m flows.agent node` on Prefect 3.8.8, and what each touches.
SEEN: list[tuple[str, str, Any, tuple[Thing, ...]]] = [
    ("GET", "admin/version", None, ()),
    ("GET", "admin/storage", None, ()),
    ("GET", "work_pools/mesh", None, ()),
    ("POST", "work_pools/mesh/queues/filter", {"work_queues": {"name": {"any_": ["node-n7"]}}, "limit": None}, ()),
    ("POST", "work_pools/mesh/workers/heartbeat", {"name": "worker-n7", "heartbeat_interval_seconds": 30}, ()),
    ("POST", "work_pools/mesh/get_scheduled_flow_runs", {"work_queue_names": ["node-n7"]}, ()),
    ("GET", f"work_queues/{ID}", None, (Thing(Kind.QUEUE, ID),)),
    ("POST", "flows/", {"name": "collect-node", "tags": [], "labels": {}}, ()),
    ("GET", f"flows/{ID}", None, (Thing(Kind.FLOW, ID),)),
    ("GET", "deployments/name/collect-node/n7", None, ()),
    ("POST", "deployments/", DEPLOYMENT, (Thing(Kind.FLOW, ID),)),
    ("GET", f"deployments/{ID}", None, (Thing(Kind.DEPLOYMENT, ID),)),
    ("PATCH", f"deployments/{ID}", CHANGE, (Thing(Kind.DEPLOYMENT, ID),)),
    ("POST", f"deployments/{ID}/create_flow_run", STARTED, (Thing(Kind.DEPLOYMENT, ID),)),
    ("DELETE", f"automations/owned-by/prefect.deployment.{ID}", None, (Thing(Kind.DEPLOYMENT, ID),)),
    ("POST", "flow_runs/filter", {"deployments": {"id": {"any_": [ID]}}}, (Thing(Kind.DEPLOYMENT, ID),)),
    ("POST", "flow_runs/filter", {"flow_runs": {"id": {"any_": [RUN]}}, "flows": None}, (Thing(Kind.RUN, RUN),)),
    ("GET", f"flow_runs/{RUN}", None, (Thing(Kind.RUN, RUN),)),
    ("PATCH", f"flow_runs/{RUN}", {"infrastructure_pid": "7"}, (Thing(Kind.RUN, RUN),)),
    ("PATCH", f"flow_runs/{RUN}/labels", {"prefect.worker.name": "worker-n7"}, (Thing(Kind.RUN, RUN),)),
    ("POST", f"flow_runs/{RUN}/set_state", {"state": {"type": "RUNNING"}, "force": False}, (Thing(Kind.RUN, RUN),)),
    ("POST", "logs/", [LINE], (Thing(Kind.RUN, RUN),)),
]
BESIDE: list[tuple[str, str, Any]] = [
    ("GET", "admin/settings", None),
    ("POST", "admin/database/clear", {"confirm": True}),
    ("POST", "work_pools/", {"name": "mesh", "type": "process"}),
    ("PATCH", "work_pools/mesh", {"base_job_template": {}}),
    ("GET", "work_pools/other", None),
    ("POST", "work_pools/mesh/queues/filter", {"work_queues": {"name": {"any_": ["node-n7", "control"]}}}),
    ("POST", "work_pools/mesh/queues/filter", None),
    ("POST", "work_pools/mesh/workers/heartbeat", {"name": "worker-control"}),
    ("POST", "work_pools/mesh/get_scheduled_flow_runs", {"work_queue_names": ["control"]}),
    ("POST", "work_pools/mesh/get_scheduled_flow_runs", {"work_queue_names": ["node-n7", "control"]}),
    ("POST", "work_pools/mesh/get_scheduled_flow_runs", {}),
    ("POST", "flows/", {"name": "heal-mesh", "tags": [], "labels": {}}),
    ("GET", "deployments/name/collect-node/n8", None),
    ("GET", "deployments/name/heal-mesh/manual", None),
    ("POST", "deployments/", {**DEPLOYMENT, "work_queue_name": "control"}),
    ("POST", "deployments/", {**DEPLOYMENT, "name": "n8"}),
    ("POST", "deployments/", {**DEPLOYMENT, "work_pool_name": "other"}),
    ("POST", "deployments/", {**DEPLOYMENT, "pull_steps": [{"run": "anything"}]}),
    ("POST", "deployments/", {**DEPLOYMENT, "schedules": [{"schedule": {"interval": 1}}]}),
    ("POST", "deployments/", {**DEPLOYMENT, "concurrency_limit": 0}),
    ("PATCH", f"deployments/{ID}", {**CHANGE, "work_queue_name": "control"}),
    ("PATCH", f"deployments/{ID}", {"parameters": {}}),
    ("DELETE", f"deployments/{ID}", None),
    ("POST", f"deployments/{ID}/create_flow_run", {**STARTED, "work_queue_name": "control"}),
    ("POST", f"deployments/{ID}/create_flow_run", {**STARTED, "parameters": {}}),
    ("DELETE", "automations/owned-by/prefect.deployment.other", None),
    ("POST", "automations/", {}),
    ("POST", "flow_runs/", {"flow_id": ID}),
    ("POST", "flow_runs/filter", {}),
    ("POST", "flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}),
    ("POST", "flow_runs/filter", {"flow_runs": {"operator": "or_", "id": {"any_": [RUN]}}}),
    ("POST", "flow_runs/filter", {"flow_runs": {"id": {"any_": [RUN], "not_any_": []}}}),
    ("POST", "flow_runs/filter", {"flow_runs": {"id": {"any_": "everything"}}}),
    ("POST", "flow_runs/filter", {"flows": {"name": {"any_": ["x"]}}, "flow_runs": {"id": {"any_": [RUN]}}}),
    ("PATCH", f"flow_runs/{RUN}", {"job_variables": {"command": "anything"}}),
    (
        "POST",
        f"flow_runs/{RUN}/set_state",
        {"state": {"type": "COMPLETED", "state_details": {"deployment_concurrency_lease_id": ID}}},
    ),
    ("POST", f"flow_runs/{RUN}/input", {"key": "k", "value": "v"}),
    ("DELETE", f"flow_runs/{RUN}", None),
    ("POST", "logs/", [{**LINE, "flow_run_id": None}]),
    ("POST", "logs/", [{**LINE, "task_run_id": ID}]),
    ("POST", "logs/", {"flow_run_id": RUN}),
    ("POST", "variables/", {"name": "one", "value": "two"}),
    ("GET", "block_documents/", None),
    ("GET", f"flow_runs/{RUN}/../../admin/settings", None),
    ("GET", f"flow_runs/{RUN}\n", None),
]


def call(method: str, path: str, body: Any = None, query: str = "") -> Call:
    return Call(method, path, query, b"" if body is None else json.dumps(body).encode())


@pytest.mark.parametrize(("method", "path", "body", "things"), SEEN)
def test_what_a_worker_was_seen_to_ask_passes_if_it_is_its_own(method, path, body, things):
    assert things_of("n7", call(method, path, body)) == things


@pytest.mark.parametrize(("method", "path", "body"), BESIDE)
def test_a_step_beside_it_is_refused(method, path, body):
    with pytest.raises(Forbidden):
        things_of("n7", call(method, path, body))


def test_a_question_in_the_address_passes_only_where_a_client_names_itself():
    assert things_of("n7", call("GET", "csrf-token", query=f"client={ID}")) == ()
    for path, query in (("csrf-token", "client=x&y=z"), ("work_pools/mesh", "x=y"), (f"flow_runs/{RUN}", "x=y")):
        with pytest.raises(Forbidden):
            things_of("n7", call("GET", path, query=query))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(ID),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["id", "any_", "state", "x"]), inner),
    max_leaves=6,
)


@given(where=st.sampled_from([(method, path) for method, path, _, _ in SEEN]), body=values, raw=st.binary(max_size=20))
def test_no_body_finds_a_defect_in_the_rules(where, body, raw):
    for one in (json.dumps(body).encode(), raw):
        try:
            things_of("n7", Call(*where, "", one))
        except Forbidden:
            continue


def test_a_thing_is_own_by_its_queue_and_pool():
    own = {"work_queue_name": "node-n7", "work_pool_name": "mesh"}
    for kind in (Kind.RUN, Kind.DEPLOYMENT):
        assert is_own("n7", Thing(kind, ID), own)
        assert not is_own("n8", Thing(kind, ID), own)
        assert not is_own("n7", Thing(kind, ID), {**own, "work_pool_name": "other"})
        assert not is_own("n7", Thing(kind, ID), {})
    assert not is_own("n7", Thing(Kind.FLOW, ID), {"name": "heal-mesh"})
    assert not is_own("n7", Thing(Kind.QUEUE, ID), {"name": "control"})


class Prefect:
    """Knows one run of n7's, and writes down who asked for what."""

    def __init__(self, answer: bytes = b"{}") -> None:
        self.answer = answer
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if request.method == "GET" and request.url.path.endswith(RUN):
            return httpx.Response(200, json={"work_queue_name": "node-n7", "work_pool_name": "mesh"})
        if request.method == "GET" and "flow_runs" in request.url.path:
            return httpx.Response(404, json={})
        return httpx.Response(200, content=self.answer)


def door(prefect: Prefect) -> PrefectDoor:
    return PrefectDoor("http://prefect/api", auth="admin:hunter2", transport=httpx.MockTransport(prefect))


async def test_what_passes_carries_the_gateways_password_and_not_the_nodes():
    prefect = Prefect()
    headers = {"authorization": "Basic bm9kZQ==", "cookie": "x=y", "x-prefect-api-version": "0.8.4"}
    await door(prefect).pass_on("n7", call("POST", f"flow_runs/{RUN}/set_state", {"state": {}}), headers)
    _, passed = prefect.asked
    assert passed.url == f"http://prefect/api/flow_runs/{RUN}/set_state"
    assert passed.headers["authorization"] == "Basic YWRtaW46aHVudGVyMg=="
    assert passed.headers["x-prefect-api-version"] == "0.8.4"
    assert "cookie" not in passed.headers


async def test_whose_a_run_is_is_asked_once_for_each_node():
    prefect = Prefect()
    through = door(prefect)
    for _ in range(3):
        await through.pass_on("n7", call("PATCH", f"flow_runs/{RUN}", {"infrastructure_pid": "1"}), {})
    assert len(prefect.asked) == 4
    with pytest.raises(Forbidden):
        await through.pass_on("n8", call("PATCH", f"flow_runs/{RUN}", {"infrastructure_pid": "1"}), {})


async def test_another_nodes_run_and_none_at_all_look_alike_and_nothing_is_changed():
    prefect = Prefect()
    said = set()
    for node, run in (("n8", RUN), ("n7", ID)):
        with pytest.raises(Forbidden) as refusal:
            await door(prefect).pass_on(node, call("POST", f"flow_runs/{run}/set_state", {"state": {}}), {})
        said.add(str(refusal.value).replace(node, "NODE"))
    assert len(said) == 1
    assert {one.method for one in prefect.asked} == {"GET"}


async def test_an_answer_without_end_is_cut_off():
    with pytest.raises(SourceUnavailable, match="more than"):
        await door(Prefect(b"x" * (ANSWER_BYTES + 1))).pass_on("n7", call("GET", "work_pools/mesh"), {})


async def test_a_prefect_that_does_not_answer_is_unavailable_and_not_well():
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route")

    gone = PrefectDoor("http://prefect/api", transport=httpx.MockTransport(refuse))
    with pytest.raises(SourceUnavailable, match="Prefect"):
        await gone.pass_on("n7", call("GET", "work_pools/mesh"), {})
    assert not await gone.is_well()


def test_an_address_that_is_none_is_said_at_the_start():
    with pytest.raises(ConfigurationInvalid, match="PREFECT_API_URL"):
        PrefectDoor("prefect:4200/api")
