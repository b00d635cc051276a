"""A lab's own Telegram: one bot, for whoever writes to it from a terminal, and an admin among them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from infra.lab.chains.living import free_port
from infra.lab.telegram.api import LAB_TOKEN
from models.errors import ConfigurationInvalid

FOLDER = "telegram"
PORT_FILE = "port"
ADMIN = 1
"""Whoever writes under this number looks after the lab's payments and its mesh."""


def prepare(state: Path) -> Mapping[str, str]:
    """Make a lab's Telegram ready, once, and return the environment that leads the gateway's bot to it."""
    file = state / FOLDER / PORT_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        file.write_text(str(free_port()))
    return {
        "TELEGRAM_BOT_TOKEN": LAB_TOKEN,
        "X0_TELEGRAM_URL": url_of(state),
        "X0_TELEGRAM_ADMINS": str(ADMIN),
        "X0_TELEGRAM_WEBHOOK": "",
    }


def port_of(state: Path) -> int:
    """Return the port on loopback where this state folder's lab serves its Telegram.

    Raises:
        ConfigurationInvalid: it has none.
    """
    try:
        return int((state / FOLDER / PORT_FILE).read_text())
    except (OSError, ValueError) as error:
        raise ConfigurationInvalid(
            f"{state} has no Telegram of a lab",
            "bring a lab up with `x0tta6bl4 up --lab`, without TELEGRAM_BOT_TOKEN, which would be a real bot's",
        ) from error


def url_of(state: Path) -> str:
    """Return where it is served. Raises as `port_of`."""
    return f"http://127.0.0.1:{port_of(state)}"
