from __future__ import annotations

import re
from pathlib import Path

from infra.telegram.settings import TelegramSettings
from infra.telegram.words import Command

PAGE = (Path(__file__).parents[3] / "docs" / "telegram.md").read_text()


def rows(first: str) -> dict[str, str]:
    """Return a table of the page: what each row is about, and its second column."""
    lines = PAGE.split(f"| {first} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return {re.findall(r"`([^`]+)`", line)[0]: line.split("|")[2].strip(" `") for line in lines}


def test_the_page_tells_every_setting_under_the_name_it_is_read_by_and_its_default():
    told = rows("variable")
    fields = TelegramSettings.model_fields
    names = {str(one.validation_alias or f"X0_{name.upper()}"): one.default for name, one in fields.items()}
    assert sorted(told) == sorted(names)
    absent = {None: "unset", "": "unset", (): "none"}
    assert told == {name: str(absent.get(default, default)) for name, default in names.items()}


def test_the_page_tells_every_command(stage):
    for command in Command:
        assert f"/{command.value}" in PAGE
    assert {one.split()[0].removeprefix("/") for one in rows("command")} == set(stage.bot._admin_commands)


def test_every_setting_says_what_it_is():
    assert all(one.description for one in TelegramSettings.model_fields.values())
