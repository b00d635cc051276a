"""The runner itself: it does what a case says, and tells what was not as expected."""

from __future__ import annotations

import json

import pytest
import yaml
from typer.testing import CliRunner

from flows.cli import app
from flows.commands.conformance import show, summary
from flows.conformance import Verdict, run_case
from infra.lab.casefile import Case
from models.errors import ConfigurationInvalid
from tests.fakes.store import FakeStore

PAID = "steps: [{order: {name: A}}, {pay: {tx: p1, for: A}}, {wait: 90s}]"
STRAY = "steps: [{order: {name: A}}, {pay: {tx: p1, asset: USDT_TRON, amount: '7'}}, {wait: 90s}]"


class Kept:
    """A store in memory that outlives the case's closing, as a database does."""

    def __init__(self):
        self._store = FakeStore()

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def close(self):
        """Keep everything."""


def case(text: str) -> Case:
    return Case.model_validate({"id": "Z01", "title": "a case", "why": "to try", **yaml.safe_load(text)})


async def run(text: str) -> tuple[str, ...]:
    store = Kept()
    return (await run_case(case(text), lambda: store)).problems


@pytest.mark.parametrize(
    "expected",
    [
        "orders: {A: {state: SETTLED, flags: [], credited: A, credits: 1, licence: true}}",
        "messages: {licence: 1}",
        "calls: {tronscan: {least: 2}, trongrid: {most: 9, never: elsewhere}}",
    ],
)
async def test_what_is_as_expected_passes(expected):
    assert await run(f"{PAID}\nexpect: {{{expected}}}") == ()


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        ("orders: {A: {state: NEW}}", "A is SETTLED, not NEW"),
        ("orders: {A: {state: SETTLED, flags: [late]}}", "A has the flags [], not [late]"),
        ("orders: {A: {state: SETTLED, credited: A - 1}}", "units were credited to A"),
        ("orders: {A: {state: SETTLED, credits: 2}}", "A has 1 credits, not 2"),
        ("orders: {A: {state: SETTLED, licence: false}}", "A has a licence"),
        ("orders: {B: {state: SETTLED}}", "there is no order B"),
        ("unmatched: [{why: no_order}]", "for a person wait none, not 1 x no_order"),
        ("messages: {licence: 2}", "1 messages of kind licence"),
        ("alerts: [drift]", "nobody was alerted: drift"),
        ("alerts: [disputed]", "nobody was alerted: disputed"),
        ("remarks: {tronscan: {fake_token: 1}}", "called fake_token 0 times"),
        ("calls: {tronscan: {most: 0}}", "more than 0"),
        ("calls: {tonapi: {least: 1}}", "fewer than 1"),
        ("calls: {tronscan: {never: transfers}}", "tronscan was asked for"),
        ("calls: {tronscan: {each: nothing}}", "tronscan was asked for"),
        ("distinct: [A, A]", "the same amount"),
    ],
)
async def test_what_is_otherwise_is_told(expected, said):
    (problem,) = await run(f"{PAID}\nexpect: {{{expected}}}")
    assert problem.startswith("at the end: ")
    assert said in problem


async def test_money_that_nobody_expected_is_told_though_the_case_is_silent_about_it():
    (problem,) = await run(STRAY)
    assert "1 x no_order (p1), not none" in problem


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("{order: {name: B, refused: ''}}", "the order B was not refused"),
        ("{claim: {order: A, text: nonsense}}", "was refused"),
        ("{claim: {order: A, text: nonsense, refused: other words}}", "was refused: the transaction hash"),
        ("{check: {order: A, state: SETTLED}}", "it was NEW, not SETTLED"),
        ("{read: {amount: '1e3', is: 1000}}", "it was refused"),
        ("{read: {amount: '10', refused: true}}", "not refused but read as 10000000"),
        ("{read: {amount: '10', is: 11}}", "read as 10000000, not as 11"),
        ("{expect: {orders: {A: {state: EXPIRED}}}}", "half way: A is NEW"),
        ("{cancel: {order: A, buyer: mallory}}", "cancelling A was refused"),
        ("{decide: {order: A, decision: refund}}", "refund of A was refused"),
        ("{at_once: [{read: {amount: '10', is: 11}}]}", "read as 10000000"),
        ("{claim: {order: C, text: nonsense}}", "speaks of the order C"),
    ],
)
async def test_a_step_that_goes_otherwise_is_told(step, said):
    problems = await run(f"steps: [{{order: {{name: A}}}}, {{scan: 1}}, {step}]")
    assert len(problems) == 1
    assert said in problems[0]


def test_the_results_count_and_name_each_case(capsys):
    good, bad = case(PAID), case(STRAY)
    verdicts = [Verdict(good, (), 0.5, 3), Verdict(bad, ("it is not so",), 0.25, 4)]
    told = json.loads(json.dumps(summary(verdicts)))
    assert (told["passed"], told["failed"]) == (1, 1)
    assert told["cases"][1] == {
        "id": "Z01",
        "title": "a case",
        "passed": False,
        "problems": ["it is not so"],
        "seconds": 0.25,
        "provider_calls": 4,
    }
    show(verdicts)
    assert "1 of 2 cases pass" in capsys.readouterr().out


def test_the_command_names_a_wrong_file_before_anything_runs(tmp_path):
    (tmp_path / "Z01.yaml").write_text("id: Z01\n")
    result = CliRunner().invoke(app, ["conformance", "payments", str(tmp_path)])
    assert isinstance(result.exception, ConfigurationInvalid)
    assert "Z01.yaml: title" in str(result.exception)


@pytest.mark.postgres
def test_the_command_runs_cases_writes_the_file_and_fails_with_them(tmp_path):
    (tmp_path / "Z01.yaml").write_text(
        f"id: Z01\ntitle: t\nwhy: w\n{PAID}\nexpect: {{orders: {{A: {{state: NEW}}}}}}\n"
    )
    (tmp_path / "Z02.yaml").write_text(f"id: Z02\ntitle: t\nwhy: w\n{PAID}\n")
    results = tmp_path / "results.json"
    result = CliRunner().invoke(app, ["conformance", "payments", str(tmp_path), "--json", str(results)])
    assert result.exit_code == 1, result.output
    told = json.loads(results.read_text())
    assert [one["passed"] for one in told["cases"]] == [False, True]
    assert "Z01  FAIL" in result.output
