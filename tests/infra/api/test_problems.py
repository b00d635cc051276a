"""Every branch of the error tree has one answer."""

from __future__ import annotations

import pytest
import structlog

from infra.api.problems import PROBLEM_JSON, branch_of, field_of
from models.errors import (
    ConfigurationInvalid,
    MeshError,
    NodeUnavailable,
    RemedyRejected,
    SourceUnavailable,
    StaleEpoch,
    ToolMissing,
)
from tests.infra.api.world import AS_READER, BrokenStore

ANSWERS = [
    (SourceUnavailable("Postgres"), 503, "transient"),
    (NodeUnavailable("n0"), 503, "transient"),
    (RemedyRejected("cost-out-link", "it would cut the graph"), 409, "refused"),
    (StaleEpoch("watch-mesh:lab", 3), 409, "refused"),
    (ConfigurationInvalid("DATABASE_URL is no URL", "mend it"), 500, "broken"),
    (ToolMissing("pg_ctl", "apt-get install postgresql-15"), 500, "broken"),
    (MeshError("of no branch"), 500, "broken"),
]


@pytest.mark.parametrize(("error", "status", "branch"), ANSWERS, ids=lambda one: type(one).__name__)
async def test_the_branch_decides_the_status_and_the_sentence_is_the_errors_own(connect, error, status, branch):
    answer = await connect(BrokenStore(error), **AS_READER).get("/api/v1/mesh")
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM_JSON)
    body = answer.json()
    assert (body["detail"], body["type"]) == (str(error), f"urn:x0tta6bl4:problem:{branch}")
    assert ("retry-after" in answer.headers) == (status == 503)


async def test_errors_are_counted_by_branch(connect):
    client = connect(BrokenStore(ToolMissing("pg_ctl", "install it")), **AS_READER)
    await client.get("/api/v1/mesh")
    text = (await client.get("/metrics")).text
    assert 'x0tta6bl4_gateway_errors_total{branch="broken"} 1.0' in text
    assert "x0tta6bl4_store_up 0.0" in text


async def test_a_defect_is_500_without_its_details_and_with_a_traceback_in_the_log(connect):
    with structlog.testing.capture_logs() as lines:
        answer = await connect(BrokenStore(ZeroDivisionError("secret detail")), **AS_READER).get("/api/v1/mesh")
    assert (answer.status_code, answer.headers["content-type"]) == (500, PROBLEM_JSON)
    assert "secret detail" not in answer.text
    (defect,) = [one for one in lines if one["event"] == "request met a defect"]
    assert "ZeroDivisionError: secret detail" in defect["exception"]
    assert [one["status"] for one in lines if one["event"] == "request answered"] == [500]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("PUT", "/api/v1/heal", 405)])
async def test_what_no_route_answers_is_a_problem_too(anyone, method, path, status):
    answer = await anyone.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM_JSON)


@pytest.mark.parametrize(
    ("location", "field"),
    [(("body", "plan_hash"), "plan_hash"), (("query", "limit"), "limit"), (("body", 12), "body"), (("body",), "body")],
)
def test_a_field_is_named_as_its_sender_wrote_it(location, field):
    assert field_of(location) == field


def test_an_error_of_no_branch_counts_as_broken():
    assert branch_of(MeshError("x"))[1] == "broken"


async def test_a_field_name_that_utf8_cannot_spell_is_still_answered(operator):
    answer = await operator.post("/api/v1/heal", content=b'{"\\ud800": 1}')
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "body")


async def test_a_caller_does_not_choose_the_size_of_our_answer(operator):
    body = {f"{number}" + "x" * 1000: 1 for number in range(900)}
    answer = await operator.post("/api/v1/heal", json=body)
    assert answer.status_code == 422
    assert len(answer.content) < 6000
