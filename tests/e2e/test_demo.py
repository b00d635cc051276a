"""Done when 1: one command shows the fault healed, and without healing shows what routing alone does."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.e2e.house import House, make_state

# test_heal.py shows both on the installation that is up already; each of these takes two minutes of its own.
pytestmark = pytest.mark.skipif("X0_CHAOS" not in os.environ, reason="two more starts and stops: run `make chaos`")
# Half a minute to start, half a minute of past, the fault, and the stop; several times that on a busy machine.
DEMO_WITHIN = 500.0


@pytest.fixture
def own_house(swept: None) -> Iterator[House]:
    """A folder and ports for a demonstration, which starts and stops everything itself."""
    one = House(make_state(), mesh=f"d{os.getpid()}")
    yield one
    one.clean()


def test_without_healing_the_demonstration_says_that_nothing_acted_and_fails(own_house: House):
    told = own_house.run("demo", "--once", "--no-heal", within=DEMO_WITHIN)
    assert told.returncode == 1, told.stdout + told.stderr
    assert "not healed: nothing acted, and routing alone did not repair it" in told.stdout
    assert "inject grey at link:" in told.stdout
    left = own_house.traces()
    assert not left.namespaces
    assert not left.processes
    assert not left.files


def test_the_demonstration_heals_and_succeeds(own_house: House):
    told = own_house.run("demo", "--once", within=DEMO_WITHIN)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "] healed: " in told.stdout
