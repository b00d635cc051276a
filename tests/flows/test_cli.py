"""The command line: what it writes, what it stores, and how it fails."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows import cli
from flows.commands import access, operator
from flows.commands.desk import writable
from infra.settings import Settings
from models.errors import ConfigurationInvalid, DecisionRefused, RefusedError, SourceUnavailable
from models.incident import (
    Cause,
    Diagnosis,
    FaultKind,
    Incident,
    IncidentId,
    IncidentState,
    Outcome,
    OutcomeKind,
    Symptom,
    SymptomKind,
)
from models.mesh import Element, LinkId
from models.ports import Scope
from models.remedy import DecisionKind, Remedy, RemedyName, Tier
from tests.fakes.store import FakeStore

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
LINK = Element.of_link(LinkId("n0--n1"))
ID = IncidentId("inc-1")
CAUSE = Cause(LINK, FaultKind.GREY, 0.9)
REMEDY = Remedy(ID, RemedyName.COST_OUT_LINK, CAUSE, (), Tier.APPROVAL, "first of the catalogue", START)


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
async def waiting(store: FakeStore) -> FakeStore:
    """A store with one incident that waits for a person's answer."""
    now = datetime.now(UTC)  # noqa: TID251 - the command under test reads the same clock
    async with store.unit() as unit:
        await unit.incidents.save(Incident(ID, Settings().mesh, IncidentState.AWAITING_APPROVAL, START, ()))
        await unit.incidents.record_diagnosis(Diagnosis(ID, START + timedelta(seconds=1), (CAUSE,), "rules"))
        await unit.incidents.record_remedy(REMEDY)
        outcome = Outcome(ID, OutcomeKind.AWAITING_APPROVAL, "a person decides", REMEDY.plan_hash, now)
        await unit.incidents.record_outcome(outcome)
    return store


async def test_an_approval_is_stored_for_exactly_that_plan(waiting: FakeStore) -> None:
    await operator.answer(REMEDY.plan_hash, DecisionKind.APPROVE, by="alice", store=waiting)
    async with waiting.unit() as unit:
        taken = await unit.decisions.take(REMEDY.plan_hash)
    assert taken is not None
    assert (taken.kind, taken.decided_by) == (DecisionKind.APPROVE, "alice")


async def test_a_second_answer_to_a_plan_is_refused(waiting: FakeStore) -> None:
    await operator.answer(REMEDY.plan_hash, DecisionKind.DENY, by="alice", store=waiting)
    with pytest.raises(DecisionRefused, match="decided already"):
        await operator.answer(REMEDY.plan_hash, DecisionKind.APPROVE, by="bob", store=waiting)


async def test_an_unknown_plan_is_refused_with_the_way_to_find_one(store: FakeStore) -> None:
    with pytest.raises(DecisionRefused, match="x0tta6bl4 incidents ID"):
        await operator.answer("nonsense", DecisionKind.APPROVE, by="alice", store=store)


async def test_a_story_is_told_in_the_order_it_happened(waiting: FakeStore) -> None:
    lines = operator.told(await operator.read_story(ID, store=waiting))
    assert lines[0] == f"incident inc-1 on {Settings().mesh}: awaiting-approval"
    told = "\n".join(lines[1:])
    parts = [
        "remedy    cost-out-link",
        "diagnosis grey of link:n0--n1 0.90",
        "outcome   awaiting-approval: a person decides",
    ]
    assert sorted(told.index(part) for part in parts) == [told.index(part) for part in parts]


async def test_an_unknown_incident_is_refused(store: FakeStore) -> None:
    with pytest.raises(RefusedError, match="there is no incident nope"):
        await operator.read_story("nope", store=store)


async def test_pausing_keeps_the_rest_of_the_guards_memory(store: FakeStore) -> None:
    mesh = Settings().mesh
    async with store.unit() as unit:
        state = await unit.guards.load(mesh)
        await unit.guards.save(mesh, type(state)(strikes={"x": 1}))
    await operator.set_pause(paused=True, store=store)
    async with store.unit() as unit:
        paused = await unit.guards.load(mesh)
    assert paused.paused
    assert paused.strikes == {"x": 1}


async def test_forgiving_an_element_forgets_what_is_held_against_it_and_ends_its_escalated_incident(
    store: FakeStore,
) -> None:
    mesh, at = Settings().mesh, START
    sick = Symptom(Element.of_link(LinkId("a--b")), SymptomKind.LOSS, at, at, 1.0, {})
    ours = Incident(IncidentId("ours"), mesh, IncidentState.ESCALATED, at, (sick,))
    async with store.unit() as unit:
        state = await unit.guards.load(mesh)
        strikes = {"link:a--b|grey": 2, "link:a--bb|grey": 1}
        await unit.guards.save(mesh, replace(state, strikes=strikes, cooldown_until={"link:a--b": at}))
        await unit.incidents.save(ours)
        await unit.incidents.save(replace(ours, id=IncidentId("open"), state=IncidentState.OPEN))
    assert await operator.forget_strikes("link:a--b", store=store) == ["ours"]
    async with store.unit() as unit:
        after = await unit.guards.load(mesh)
        left = await unit.incidents.open(mesh)
    assert (dict(after.strikes), dict(after.cooldown_until)) == ({"link:a--bb|grey": 1}, {})
    assert [one.id for one in left] == ["open"]
    with pytest.raises(ConfigurationInvalid, match="something is held against link:a--bb"):
        await operator.forget_strikes("link:a--b", store=store)


async def test_a_heal_that_nobody_takes_up_says_where_to_look_and_stays_posted(store: FakeStore) -> None:
    with pytest.raises(SourceUnavailable, match="x0tta6bl4 status"):
        await operator.ask_to_heal(dry_run=True, store=store, seconds=0.05)
    async with store.unit() as unit:
        posted = await unit.requests.waiting(Settings().mesh)
    assert [one.dry_run for one in posted] == [True]


async def test_a_token_is_kept_only_as_a_digest(store: FakeStore) -> None:
    secret = await access.make("grafana", Scope.READ, store=store)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    async with store.unit() as unit:
        found = await unit.tokens.find(digest)
    assert found is not None
    assert (found.name, found.scope) == ("grafana", Scope.READ)
    await access.forget("grafana", store=store)
    async with store.unit() as unit:
        assert await unit.tokens.find(digest) is None


async def test_a_token_without_a_name_is_refused(store: FakeStore) -> None:
    with pytest.raises(ConfigurationInvalid, match="needs a name"):
        await access.make(" ", Scope.PAY, store=store)


async def test_revoking_an_unknown_token_is_refused(store: FakeStore) -> None:
    with pytest.raises(RefusedError, match="there is no token named nobody"):
        await access.forget("nobody", store=store)


def run(*arguments: str, state: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        "X0_STATE": str(state),
        "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
        "X0_PREFECT_PORT": "1",
        "X0_API_PORT": "2",
    }
    command = [sys.executable, "-m", "flows", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=Path(__file__).parents[2]
    )


def test_an_error_of_ours_is_one_sentence_and_an_exit_code(tmp_path: Path) -> None:
    ended = run("incidents", state=tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.startswith("x0tta6bl4: ")
    assert len(ended.stderr.strip().splitlines()) == 1
    assert ended.stdout == ""


def test_a_mistake_in_the_configuration_has_its_own_exit_code(tmp_path: Path) -> None:
    ended = run("up", "--lab", "--topology", "moebius", state=tmp_path)
    assert ended.returncode == 2
    assert "choose one of ring-chord" in ended.stderr


def test_status_of_nothing_says_what_to_start(tmp_path: Path) -> None:
    ended = run("status", "--json", state=tmp_path)
    assert ended.returncode == 1
    assert json.loads(ended.stdout)["problems"] == ["nothing is up; start `x0tta6bl4 up`"]


def test_down_of_nothing_is_no_error(tmp_path: Path) -> None:
    ended = run("down", state=tmp_path)
    assert (ended.returncode, ended.stdout.strip()) == (0, "nothing was up")


def test_the_doctor_answers_in_json_with_a_mend_for_each_miss(tmp_path: Path) -> None:
    findings = json.loads(run("doctor", "--json", state=tmp_path).stdout)
    assert {"kernel", "postgres", "prefect", "babeld"} <= {one["name"] for one in findings}
    assert all(one["mend"] for one in findings if not one["ok"])


def test_help_imports_nothing_heavy() -> None:
    heavy = ("prefect", "sqlalchemy", "numpy", "networkx", "httpx", "pydantic", "pyroute2")
    program = f"import sys; from flows import cli; print([name for name in {heavy!r} if name in sys.modules])"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert ended.stdout.strip() == "[]"


def test_help_names_every_command() -> None:
    text = CliRunner().invoke(cli.app, ["--help"]).stdout
    for name in (
        "up",
        "down",
        "status",
        "doctor",
        "heal",
        "incidents",
        "approve",
        "deny",
        "pause",
        "resume",
        "forgive",
        "token",
        "lab",
    ):
        assert name in text


@pytest.mark.parametrize(
    "words",
    [
        ("generate-test-anomalies", "/nonexistent/out"),
        ("train-weights", "--out", "/nonexistent/out"),
        ("ebpf", "record", "--interface", "lo", "/nonexistent/out"),
    ],
)
def test_a_file_that_cannot_be_written_is_told_before_the_work(words: tuple[str, ...], tmp_path: Path) -> None:
    ended = run(*words, state=tmp_path)
    assert ended.returncode == 2
    assert "/nonexistent/out cannot be written (No such file or directory); name a file" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_asking_whether_a_file_can_be_written_leaves_it_as_it_was(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("kept")
    assert [writable(old), writable(new)] == [old, new]
    assert old.read_text() == "kept"
    assert not new.exists()


def test_a_benchmark_gets_the_options_behind_its_name(tmp_path: Path) -> None:
    ended = run("bench", "healing", "--no-such-option", state=tmp_path)
    assert ended.returncode == 2
    assert "--no-such-option" in ended.stderr
