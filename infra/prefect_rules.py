"""What a node's worker may ask of Prefect's API: the calls that a worker of Prefect 3.8 was seen to make, no others.

Pure: a call is refused, or it comes back with the things it touches, which have to be the node's own.

Prefect itself knows no such rights: whoever has its password runs code on every machine with a worker.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from models.errors import RefusedError

POOL = "mesh"
FLOW = "collect-node"
ENTRYPOINT = "flows.collection.collect_node"

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


class Forbidden(RefusedError):
    """Raised when a node asks Prefect for what is not its share."""


class Kind(StrEnum):
    """A sort of thing in Prefect, by the path it is found at."""

    FLOW = "flows"
    DEPLOYMENT = "deployments"
    RUN = "flow_runs"
    QUEUE = "work_queues"


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that has to be the node's own."""

    kind: Kind
    id: str


@dataclass(frozen=True, slots=True)
class Call:
    """One request of a node's worker.

    Attributes:
        method: Of HTTP, in capitals.
        path: Below Prefect's `/api/`, decoded.
        query: As it came, without `?`.
        body: As it came.
    """

    method: str
    path: str
    query: str = ""
    body: bytes = b""


Rule = Callable[[str, tuple[str, ...], Any], tuple[Thing, ...]]


def queue_of(node: str) -> str:
    """Return a node's queue, as `flows.installation` names it."""
    return f"node-{node}"


def things_of(node: str, call: Call) -> tuple[Thing, ...]:
    """Return what a call touches, all of which must be the node's own; nothing where the call itself says whose it is.

    Raises:
        Forbidden: a worker of this node has no need of it.
    """
    for method, pattern, rule in RULES:
        found = re.fullmatch(pattern, call.path)
        if method == call.method and found is not None:
            if call.query and rule is not csrf:
                break
            if rule is csrf:
                return csrf(node, (call.query,), None)
            return rule(node, found.groups(), _document(call.body))
    raise Forbidden(f"a node's worker may not {call.method} this of Prefect")


def is_own(node: str, thing: Thing, document: Mapping[str, Any]) -> bool:
    """Say whether something is a node's own, by what Prefect says of it."""
    if thing.kind is Kind.FLOW:
        return document.get("name") == FLOW
    if thing.kind is Kind.QUEUE:
        return document.get("name") == queue_of(node) and document.get("work_pool_name", POOL) in {POOL, None}
    return document.get("work_queue_name") == queue_of(node) and document.get("work_pool_name") == POOL


def _document(body: bytes) -> Any:
    if not body:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Forbidden("the body is not JSON") from error


def _need(is_so: bool, what: str) -> None:  # noqa: FBT001 - a claim, as of assert
    if not is_so:
        raise Forbidden(what)


def _fields(body: Any, allowed: frozenset[str]) -> dict[str, Any]:
    """Return a JSON object that has no other fields than these."""
    _need(isinstance(body, dict), "the body is no JSON object")
    _need(body.keys() <= allowed, "the body has fields that a node's worker does not need")
    found: dict[str, Any] = body
    return found


def anything(_: str, __: tuple[str, ...], body: Any) -> tuple[Thing, ...]:
    """Let a question pass that names nothing."""
    _need(body is None, "this takes no body")
    return ()


def csrf(_: str, groups: tuple[str, ...], __: Any) -> tuple[Thing, ...]:
    """Let a client ask for the token of its own requests."""
    _need(re.fullmatch(f"client={UUID}", groups[0]) is not None, "a client is named by its UUID")
    return ()


def one(kind: Kind) -> Rule:
    """Return the rule of a call that reads one thing."""

    def rule(_: str, groups: tuple[str, ...], body: Any) -> tuple[Thing, ...]:
        _need(body is None, "this takes no body")
        return (Thing(kind, groups[0]),)

    return rule


def queues(node: str, _: tuple[str, ...], body: Any) -> tuple[Thing, ...]:
    """Look the own queue up."""
    asked = _fields(body, frozenset({"work_queues", "limit", "offset"}))
    _need(asked.get("work_queues") == {"name": {"any_": [queue_of(node)]}}, "only the node's own queue is shown")
    return ()


def heartbeat(node: str, _: tuple[str, ...], body: Any) -> tuple[Thing, ...]:
    """Say that the own worker lives."""
    asked = _fields(body, frozenset({"name", "heartbeat_interval_seconds"}))
    _need(asked.get("name") == f"worker-{node}", f"this node's worker is called worker-{node}")
    return ()


def scheduled(node: str, _: tuple[str, ...], body: Any) -> tuple[Thing, ...]:
    """Take runs from the own queue."""
    asked = _fields(body, frozenset({"work_queue_names", "scheduled_before", "limit"}))
    _need(asked.get("work_queue_names") == [queue_of(node)], "only the node's own queue is worked on")
    return ()


def make_flow(_: str, __: tuple[str, ...], body: Any) -> tuple[Thing, ...]:
    """Find the flow, or make it where nobody did before."""
    asked = _fields(body, frozenset({"name", "tags", "labels"}))
    _need(asked == {"name": FLOW, "tags": [], "labels": {}}, f"a node runs {FLOW} and no other flow")
    return ()


# What a deployment of ours sets; what else it could set reaches further than this node.
_EMPTY: Mapping[str, tuple[Any, ...]] = {
    "paused": (False,),
    "schedules": ([],),
    "concurrency_limit": (None,),
    "concurrency_options": (None,),
    "tags": ([],),
    "labels": ({},),
    "pull_steps": ([], None),
    "storage_document_id": (None,),
    "infrastructure_document_id": (None,),
    "path": (None,),
    "job_variables": ({},),
    "enforce_parameter_schema": (True,),
}
_FREE = frozenset({"version", "version_info", "description", "parameters", "parameter_openapi_schema"})
_NAMED = frozenset({"work_queue_name", "work_pool_name", "entrypoint"})


def _deployment(node: str, asked: Mapping[str, Any]) -> None:
    for name, values in _EMPTY.items():
        _need(name not in asked or asked[name] in values, f"a node's deployment does not set {name}")
    _need(asked.get("work_queue_name") == queue_of(node), "a node's deployment is on its own queue")
    _need(asked.get("work_pool_name") == POOL, f"a node's deployment is in the pool {POOL}")
    _need(asked.get("entrypoint") == ENTRYPOINT, f"a node's deployment runs {ENTRYPOINT}")


def make_deployment(node: str, _: tuple[str, ...], body: Any) -> tuple[Thing, ...]:
    """Make the own deployment."""
    asked = _fields(body, _FREE | _NAMED | {"name", "flow_id"} | _EMPTY.keys())
    _need(asked.get("name") == node, "a node's deployment is named after it")
    _deployment(node, asked)
    return (Thing(Kind.FLOW, _id(asked.get("flow_id"))),)


def change_deployment(node: str, groups: tuple[str, ...], body: Any) -> tuple[Thing, ...]:
    """Bring the own deployment up to date."""
    _deployment(node, _fields(body, _FREE | _NAMED | _EMPTY.keys()))
    return (Thing(Kind.DEPLOYMENT, groups[0]),)


def named_deployment(node: str, groups: tuple[str, ...], body: Any) -> tuple[Thing, ...]:
    """Look the own deployment up."""
    _need(groups[0] == node and body is None, "only the node's own deployment is shown")
    return ()


def start_run(_: str, groups: tuple[str, ...], body: Any) -> tuple[Thing, ...]:
    """Start the own deployment, with its own parameters, on its own queue."""
    _need(body == {"state": {"type": "SCHEDULED", "name": "Scheduled"}}, "a run is started as its deployment says")
    return (Thing(Kind.DEPLOYMENT, groups[0]),)


def change_run(_: str, groups: tuple[str, ...], body: Any) -> tuple[Thing, ...]:
    """Say of an own run which process it is and which version."""
    _fields(body, frozenset({"infrastructure_pid", "flow_version", "empirical_policy"}))
    return (Thing(Kind.RUN, groups[0]),)


def label_run(_: str, groups: tuple[str, ...], body: Any) -> tuple[Thing, ...]:
    """Label an own run."""
    _need(isinstance(body, dict), "labels are a JSON object")
    return (Thing(Kind.RUN, groups[0]),)


def advance_run(_: str, groups: tuple[str, ...], body: Any) -> tuple[Thing, ...]:
    """Say how an own run stands."""
    state = _fields(body, frozenset({"state", "force"})).get("state")
    _need(isinstance(state, dict), "a state is a JSON object")
    details = (state or {}).get("state_details") or {}
    _need(isinstance(details, dict), "a state's details are a JSON object")
    # Ending a run gives back the lease it names.
    _need(details.get("deployment_concurrency_lease_id") is None, "a node's run holds no lease")
    return (Thing(Kind.RUN, groups[0]),)


def find_runs(_: str, __: tuple[str, ...], body: Any) -> tuple[Thing, ...]:
    """Look for runs among own ones, or of own deployments: ids bound the search, everything else narrows it."""
    asked = _fields(
        body,
        frozenset(
            {
                "flows",
                "flow_runs",
                "task_runs",
                "deployments",
                "work_pools",
                "work_pool_queues",
                "sort",
                "limit",
                "offset",
            }
        ),
    )
    for name in ("flows", "task_runs", "work_pools", "work_pool_queues"):
        _need(asked.get(name) is None, f"a node looks for runs by their ids, not by {name}")
    deployments, runs = _ids(asked.get("deployments")), _ids(asked.get("flow_runs"))
    _need(deployments is not None or runs is not None, "a node looks for its own runs only")
    of_deployments = tuple(Thing(Kind.DEPLOYMENT, each) for each in deployments or ())
    return of_deployments + tuple(Thing(Kind.RUN, each) for each in runs or ())


def _ids(condition: Any) -> tuple[str, ...] | None:
    """Return the ids that a condition demands; None where it demands none.

    An operator beside them could join conditions by "or", and an id beside ids could be another's.
    """
    if condition is None:
        return None
    asked = _fields(condition, frozenset({"id", "state"}))
    if asked.get("id") is None:
        return None
    ids = _fields(asked["id"], frozenset({"any_"})).get("any_")
    _need(isinstance(ids, list), "ids are a list")
    return tuple(_id(each) for each in ids or ())


def write_logs(_: str, __: tuple[str, ...], body: Any) -> tuple[Thing, ...]:
    """Write lines of own runs."""
    _need(isinstance(body, list), "log lines are a list")
    runs: set[str] = set()
    for line in body:
        asked = _fields(line, frozenset({"name", "level", "message", "timestamp", "flow_run_id", "task_run_id"}))
        _need(asked.get("task_run_id") is None, "a node's runs have no tasks")
        runs.add(_id(asked.get("flow_run_id")))
    return tuple(Thing(Kind.RUN, each) for each in sorted(runs))


def _id(value: Any) -> str:
    _need(isinstance(value, str) and re.fullmatch(UUID, value) is not None, "an id is a UUID")
    return str(value)


RULES: tuple[tuple[str, str, Rule], ...] = (
    ("GET", r"csrf-token", csrf),
    ("GET", r"admin/version", anything),
    ("GET", r"admin/storage", anything),
    ("GET", f"work_pools/{POOL}", anything),
    ("POST", f"work_pools/{POOL}/queues/filter", queues),
    ("POST", f"work_pools/{POOL}/workers/heartbeat", heartbeat),
    ("POST", f"work_pools/{POOL}/get_scheduled_flow_runs", scheduled),
    ("GET", f"work_queues/({UUID})", one(Kind.QUEUE)),
    ("POST", r"flows/", make_flow),
    ("GET", f"flows/({UUID})", one(Kind.FLOW)),
    ("GET", f"deployments/name/{FLOW}/([A-Za-z0-9.-]+)", named_deployment),
    ("POST", r"deployments/", make_deployment),
    ("GET", f"deployments/({UUID})", one(Kind.DEPLOYMENT)),
    ("PATCH", f"deployments/({UUID})", change_deployment),
    ("POST", f"deployments/({UUID})/create_flow_run", start_run),
    # Prefect's client clears what a deployment's triggers made before; a node's has none.
    ("DELETE", rf"automations/owned-by/prefect\.deployment\.({UUID})", one(Kind.DEPLOYMENT)),
    ("POST", r"flow_runs/filter", find_runs),
    ("GET", f"flow_runs/({UUID})", one(Kind.RUN)),
    ("PATCH", f"flow_runs/({UUID})", change_run),
    ("PATCH", f"flow_runs/({UUID})/labels", label_run),
    ("POST", f"flow_runs/({UUID})/set_state", advance_run),
    ("POST", r"logs/", write_logs),
)
