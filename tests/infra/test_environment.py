"""A setting that cannot be used is told by the name of its variable, and by nothing that could be a secret."""

from __future__ import annotations

import pytest

from infra.chains.settings import ChainSettings
from infra.settings import Settings
from infra.telegram.settings import TelegramSettings
from models.errors import ConfigurationInvalid


def test_every_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("X0_API_PORT", "eighty")
    monkeypatch.setenv("X0_TICK_SECONDS", "0")
    with pytest.raises(ConfigurationInvalid, match=r"X0_API_PORT: .*; X0_TICK_SECONDS: .*docs/operations\.md"):
        Settings()


def test_what_was_given_is_not_repeated(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("X0_PROVIDER_DEADLINE_SECONDS", "hunter2")
    with pytest.raises(ConfigurationInvalid, match="X0_PROVIDER_DEADLINE_SECONDS") as raised:
        ChainSettings()
    assert "hunter2" not in f"{raised.value}{raised.value.__cause__}"


def test_a_variable_with_a_name_of_its_own_is_named_by_it():
    with pytest.raises(ConfigurationInvalid, match="TELEGRAM_BOT_TOKEN: "):
        TelegramSettings(telegram_token=7)  # type: ignore[arg-type]  # what is wrong here
