"""Installations that tests share; `tests/sharing.py` says which test meets which, and when."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.e2e import house as houses
from tests.e2e.house import House
from tests.e2e.messenger import Messenger
from tests.e2e.world import World, at_work

NEEDED = ("babeld", "nft", "ip", "bpftool")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what is collected here, early enough for `-m`, and skip what cannot run here, saying why."""
    item.add_marker(pytest.mark.e2e)
    # Every wait has a shorter bound of its own; a pair of kill and stage holds several of them.
    item.add_marker(pytest.mark.timeout(600))
    if reason := why_not():
        item.add_marker(pytest.mark.skip(reason=reason))


def why_not() -> str:
    """Say why the whole system cannot run on this machine; empty when it can."""
    if os.geteuid() != 0:
        return "needs root"
    lacks = [tool for tool in NEEDED if shutil.which(tool, path="/usr/sbin:/sbin:/usr/bin:/bin") is None]
    return f"not installed: {', '.join(lacks)}" if lacks else ""


@pytest.fixture(scope="session")
def swept() -> None:
    """Nothing of a killed session is left."""
    houses.sweep()


@pytest.fixture(scope="session")
def messenger() -> Iterator[Messenger]:
    """A made-up Telegram for the house's bot."""
    with Messenger().open() as one:
        yield one


@pytest.fixture(scope="session")
def house(swept: None, messenger: Messenger) -> Iterator[House]:
    """A six-node lab with everything that looks after it, up and sampled; one for each worker of a session."""
    one = House(houses.make_state(), mesh=f"e{os.getpid()}", also=messenger.environment)
    try:
        one.start("--lab")
        asyncio.run(one.up())
        yield one
    finally:
        one.clean()


@pytest.fixture
async def world(house: House) -> AsyncIterator[World]:
    """Hands in the running installation, which is quiet before and put back after."""
    async with at_work(house) as hands:
        yield hands
