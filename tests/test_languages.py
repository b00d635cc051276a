"""README.ru.md is in step with README.md: the same commands, the same names in code, the same links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ENGLISH, RUSSIAN = "README.md", "README.ru.md"
FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)]+)\)")
# What stands behind a command for the reader, in the reader's own language.
REMARK = re.compile(r"\s+# .*$")


def blocks(text: str) -> list[list[str]]:
    """Return the lines of each code block, without their remarks."""
    return [[REMARK.sub("", line) for line in block.splitlines()] for block in FENCE.findall(text)]


def spans(text: str) -> set[str]:
    """Return what stands between backticks in the prose; a line break is a space."""
    return {" ".join(one.split()) for one in SPAN.findall(FENCE.sub("", text))}


def links(text: str) -> set[str]:
    """Return where the text leads, but to its own translation."""
    return set(LINK.findall(FENCE.sub("", text))) - {ENGLISH, RUSSIAN}


def read(name: str) -> str:
    return (ROOT / name).read_text()


def test_both_have_as_many_code_blocks():
    english, russian = blocks(read(ENGLISH)), blocks(read(RUSSIAN))
    told = f"{ENGLISH} has {len(english)} code blocks, {RUSSIAN} {len(russian)}: copy the missing one, or take it out"
    assert len(english) == len(russian), told


@pytest.mark.parametrize("number", range(len(blocks(read(ENGLISH)))))
def test_a_code_block_has_the_same_commands_in_both(number):
    wanted, found = blocks(read(ENGLISH))[number], blocks(read(RUSSIAN))[number : number + 1]
    copied = "\n".join(wanted)
    assert found == [wanted], f"copy this into code block {number + 1} of {RUSSIAN}, remarks apart:\n{copied}"


@pytest.mark.parametrize("what", [spans, links])
def test_the_prose_names_the_same_things_in_both(what):
    english, russian = what(read(ENGLISH)), what(read(RUSSIAN))
    assert english - russian == set(), f"{RUSSIAN} lacks these: name them where {ENGLISH} does"
    assert russian - english == set(), f"{RUSSIAN} still names these, which {ENGLISH} does not: take them out"


@pytest.mark.parametrize(
    ("what", "pattern"), [("headings", r"^#+ "), ("table rows", r"^\|"), ("list items", r"^(?:- |\d\. )")]
)
def test_both_are_built_the_same_way(what, pattern):
    english, russian = (re.findall(pattern, read(name), re.MULTILINE) for name in (ENGLISH, RUSSIAN))
    assert english == russian, f"{RUSSIAN} and {ENGLISH} differ in their {what}: translate what is new"
