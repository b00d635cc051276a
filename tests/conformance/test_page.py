"""The page on conformance tells the truth: its example is a case, and its table names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from infra.lab.casefile import Case, FaultName, PayStep, ProviderStep, Step, load_cases

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/conformance.md").read_text()
ROWS = re.findall(r"^\| ([A-Z][0-9]{2}) \| [^|]+ \| `([^`]+)`: `([^`]+)` \|$", PAGE, re.MULTILINE)

CATALOGUE, OURS = 150, 2


@pytest.mark.parametrize(("case", "file", "test"), ROWS, ids=[row[0] for row in ROWS])
def test_a_case_that_is_a_test_is_one_that_exists(case, file, test):
    assert f"def {test}(" in (ROOT / file).read_text(), case


def test_every_case_of_the_catalogue_is_a_file_or_a_test_and_none_is_beside_it():
    listed = [one for row in yaml.safe_load((Path(__file__).parent / "ids.yaml").read_text()) for one in row]
    files = {case.id for case in load_cases(Path(__file__).parent / "payments")}
    assert len(listed) == len(set(listed)) == CATALOGUE + OURS
    assert set(listed) == files | {row[0] for row in ROWS}


def test_no_case_is_both_a_file_and_a_test():
    assert len(ROWS) > 10
    assert {row[0] for row in ROWS} & {case.id for case in load_cases(Path(__file__).parent / "payments")} == set()


def test_the_pages_example_is_a_case():
    told = yaml.safe_load(PAGE.split("```yaml\n")[1].split("```")[0])
    assert Case.model_validate(told).id == "Q01"


@pytest.mark.parametrize("part", [Step, PayStep, ProviderStep])
def test_the_page_names_every_field(part):
    named = {field.alias or name for name, field in part.model_fields.items()}
    assert {name for name in named if f"`{name}" not in PAGE and f"{name}`" not in PAGE and name not in PAGE} == set()


def test_the_page_names_every_fault():
    words = [name for name in FaultName.__args__ if not name.isdigit()]
    assert [name for name in words if f"`{name}`" not in PAGE] == []
