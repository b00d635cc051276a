"""How tests are dealt out to workers side by side: file by file, but together what shares a house or a server."""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

KILLS = "test_kills.py"
# One after another they all share one installation, and whoever needs none comes first. Side by side each group has one
# of its own, in this order: two of them fit two cores, because most of a test here is waiting. Kills are the half of
# it all, so each house has some, and a heal after the last.
HOUSES = {
    "use": (KILLS, "test_browser.py", "test_requests.py", "test_smoke.py", "test_purchase.py"),
    "harm": (KILLS, "test_heal.py", "test_ctrl_c.py"),
}
# Kills after a heal, and these; so that both houses take about as long, and have twelve each in `make chaos`.
KILLS_IN_USE = ("gateway-at-applied", "collector-at-applied", "prefect-at-applied", "worker-nodes-at-applied")
# These have a mesh of their own and judge what it shows; two installations that start take both cores from them.
ALONE = ("tests/e2e/test_demo.py", "tests/e2e/test_approval.py")
ORDER = tuple((house, f"tests/e2e/{name}") for house, names in HOUSES.items() for name in names)
PATHS = frozenset(path for _, path in ORDER)


# They share Prefect's test server, which each worker would start for itself: 20 s of CPU.
PREFECT = (
    "tests/flows/test_healing_reported.py",
    "tests/flows/test_forgetting.py",
    "tests/flows/test_deployments.py",
    "tests/flows/test_payments.py",
    "tests/flows/test_review.py",
    "tests/flows/test_learning_reported.py",
)
# What takes from ten seconds to a minute each: dealt out last, one worker would have it while the others have nothing.
LONG = (
    "tests/infra/deploy/test_alerts_live.py",
    "tests/infra/lab/test_running.py",
    "tests/infra/db/test_ledger_stateful.py",
    "tests/infra/db/test_ledger_races.py",
    *PREFECT,
    "tests/bench/test_ebpf.py",
    "tests/infra/api/test_main.py",
    "tests/infra/lab/test_client.py",
)


class Dealer(LoadFileScheduling):
    """Gives whole files to workers, in the order of collection, and what shares a house or a server to one.

    Groups of xdist 3.8 would say the same, but write it where pytest 9.2 no longer looks; and its own order is by the
    number of tests, which has the longest last.
    """

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        path = super()._split_scope(nodeid)
        return "prefect" if path in PREFECT else house_of(nodeid) or path


def in_order(items: list[pytest.Item], *, side_by_side: bool) -> list[pytest.Item]:
    """Return what was collected, the long first, and a house's tests in their order: last, unless side by side."""
    housed = [one for one in items if path_of(one.nodeid) in PATHS]
    alone = [one for one in items if path_of(one.nodeid) in ALONE]
    rest = [one for one in items if path_of(one.nodeid) not in PATHS.union(ALONE)]
    housed.sort(key=lambda one: ORDER.index((house_of(one.nodeid) or "", path_of(one.nodeid))))
    rest.sort(key=lambda one: path_of(one.nodeid) not in LONG)
    return [*housed, *rest, *alone] if side_by_side else [*rest, *alone, *housed]


def house_of(nodeid: str) -> str | None:
    """Return the group of houses that a test belongs to, None where it needs none."""
    path = path_of(nodeid)
    mine = [house for house, one in ORDER if one == path]
    if len(mine) > 1:
        is_use = "-at-committed" in nodeid or nodeid.endswith(tuple(f"[{pair}]" for pair in KILLS_IN_USE))
        return "use" if is_use else "harm"
    return mine[0] if mine else None


def path_of(nodeid: str) -> str:
    """Return the file of a test, as seen from the root."""
    return nodeid.partition("::")[0]
