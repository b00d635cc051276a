"""Documents name what exists: files, links, commands, settings, limits, states; decisions have their parts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from flows.cli import app
from infra.doctor import TOOLS
from infra.lab.faults import PLACES
from infra.lab.topology import Shape
from infra.lab.trial import load
from infra.settings import Settings
from models.incident import IncidentState, OutcomeKind
from models.remedy import Limits

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "decisions"
DECISIONS = sorted(FOLDER.glob("[0-9]*.md"))
PARTS = ["**Context.**", "**Decision.**", "**Consequences.**", "**Enforced by.**"]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *DECISIONS])
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
NAMED_FILE = re.compile(r"`((?:[\w.-]+/)*[A-Za-z][\w-]*\.(?:py|toml|md|lock|sh))`")
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
TYPED = re.compile(r"^(?:\$ )?(x0tta6bl4 .*)$", re.MULTILINE)
SPOKEN = re.compile(r"`(x0tta6bl4 [^`]*)`")
# What stands in a document for something of the reader's own.
SOMEBODYS = re.compile(r"[A-Z]{2,}(?:\.\w+)?")


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def table(first: str) -> dict[str, str]:
    """Return the operator's table under this first heading: what each row is about, and its second column."""
    rows = OPERATIONS.split(f"| {first} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return {name: row.split("|")[2].strip() for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])}


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of every command line of ours, without the remark behind it."""
    typed = [line for block in FENCE.findall(text) for line in TYPED.findall(block)]
    for line in [*typed, *SPOKEN.findall(FENCE.sub("", text))]:
        yield shlex.split(line, comments=True)[1:]


@pytest.mark.parametrize("page", DECISIONS, ids=lambda one: one.stem)
def test_a_decision_has_its_four_parts_in_order_and_is_listed(page):
    text = page.read_text()
    places = [text.find(one) for one in PARTS]
    assert -1 not in places
    assert places == sorted(places)
    assert text.startswith(f"# {page.stem[:4]}: ")
    assert f"({page.name})" in (FOLDER / "README.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_file_a_document_names_exists(page):
    found = [one for one in NAMED_FILE.findall(page.read_text()) if not SOMEBODYS.fullmatch(Path(one).stem)]
    assert [one for one in found if not (ROOT / one).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page):
    inside = [one for one in LINK.findall(page.read_text()) if "://" not in one]
    assert [one for one in inside if not (page.parent / one).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_a_document_shows_exists_with_its_options(page):
    for words in commands(page.read_text()):
        command, rest = typer.main.get_command(app), list(words)
        while rest and isinstance(command, TyperGroup) and not SOMEBODYS.fullmatch(rest[0]):
            name = rest.pop(0)
            assert name in command.commands, f"x0tta6bl4 {shlex.join(words)}"
            command = command.commands[name]
        if command.context_settings.get("ignore_unknown_options"):
            continue  # a benchmark's options are its own
        known = {option for one in command.params for option in [*one.opts, *one.secondary_opts]} | {"--help"}
        assert {one.split("=")[0] for one in rest if one.startswith("-")} <= known, f"x0tta6bl4 {shlex.join(words)}"


def test_the_readme_shows_the_commands_a_newcomer_needs():
    shown = {words[0] for words in commands((ROOT / "README.md").read_text()) if words}
    assert {"up", "down", "status", "doctor", "incidents", "lab", "bench"} <= shown


def test_the_readme_names_every_fault_and_topology_that_make_run_takes():
    text = (ROOT / "README.md").read_text()
    faults = re.search(r"`FAULT` is one of `([^`]+)`", text)
    shapes = re.search(r"`TOPOLOGY` one of `([^`]+)`", text)
    assert faults is not None
    assert shapes is not None
    assert sorted(faults[1].split()) == sorted(PLACES)
    assert sorted(shapes[1].split()) == sorted(Shape)


def test_the_trial_in_the_document_is_one(tmp_path):
    text = (ROOT / "docs" / "trials.md").read_text()
    (tmp_path / "trial.yaml").write_text(text.split("```yaml\n")[1].split("```")[0])
    assert load(tmp_path / "trial.yaml").name == "grey link under a phone call"
    assert [kind for kind in PLACES if f"`{kind}`" not in text] == []


def test_operations_tells_every_setting_under_the_name_it_is_read_by_and_its_default():
    variables = {
        str(field.validation_alias) if field.validation_alias else f"X0_{name.upper()}": field.default
        for name, field in Settings.model_fields.items()
    }
    rows = table("variable")
    assert sorted(rows) == sorted(variables)
    stated = {name: value for name, value in variables.items() if isinstance(value, str | int | float)}
    assert {name: rows[name].split(",")[0].strip(" `") for name in stated} == {
        name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in stated.items()
    }


def test_operations_tells_every_limit_of_the_guards_with_its_number():
    rows, limits = table("limit"), {one.name for one in fields(Limits)}
    assert set(rows) == limits
    plain = {name: value for name in limits if isinstance(value := getattr(Limits(), name), int | float)}
    assert {name: rows[name] for name in plain} == {name: f"{value:g}" for name, value in plain.items()}


def test_operations_explains_every_state_and_outcome_of_an_incident():
    assert list(table("state")) == [one.value for one in IncidentState]
    assert list(table("outcome")) == [one.value for one in OutcomeKind]


def test_operations_explains_every_program_the_doctor_looks_for():
    assert {tool[0] for tool in TOOLS} <= set(table("need"))
