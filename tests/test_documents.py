"""Documents name files that exist, and every decision has its parts and its line in the list."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "decisions"
DECISIONS = sorted(FOLDER.glob("[0-9]*.md"))
PARTS = ["**Context.**", "**Decision.**", "**Consequences.**", "**Enforced by.**"]
NAMED_FILE = re.compile(r"`((?:[\w.-]+/)*[A-Za-z][\w-]*\.(?:py|toml|md|lock|sh))`")


@pytest.mark.parametrize("page", DECISIONS, ids=lambda one: one.stem)
def test_a_decision_has_its_four_parts_in_order_and_is_listed(page):
    text = page.read_text()
    places = [text.find(one) for one in PARTS]
    assert -1 not in places
    assert places == sorted(places)
    assert text.startswith(f"# {page.stem[:4]}: ")
    assert f"({page.name})" in (FOLDER / "README.md").read_text()


@pytest.mark.parametrize("page", [*DECISIONS, ROOT / "SECURITY.md"], ids=lambda one: one.stem)
def test_every_file_a_document_names_exists(page):
    named = NAMED_FILE.findall(page.read_text())
    assert named
    assert [one for one in named if not (ROOT / one).exists()] == []
