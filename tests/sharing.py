"""How tests are dealt out to workers side by side: file by file, but together what shares a house or a server."""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

# One after another they all share one installation, and whoever needs none comes first. Side by side each group
# has one of its own, in this order: two of them fit two cores, because most of a test here is waiting.
HOUSES = {
    "alone": ("test_demo.py",),
    "use": ("test_approval.py", "test_requests.py", "test_smoke.py", "test_browser.py", "test_purchase.py"),
    "harm": ("test_kills.py", "test_heal.py", "test_ctrl_c.py"),
}
HOUSE = {f"tests/e2e/{name}": house for house, names in HOUSES.items() for name in names}
ORDER = tuple(HOUSE)


# They share Prefect's test server, which each worker would start for itself: 20 s of CPU.
PREFECT = (
    "tests/flows/test_healing_reported.py",
    "tests/flows/test_deployments.py",
    "tests/flows/test_payments.py",
    "tests/flows/test_review.py",
    "tests/flows/test_learning_reported.py",
)
SHARES = {**HOUSE, **dict.fromkeys(PREFECT, "prefect")}
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
        return SHARES.get(path, path)


def in_order(items: list[pytest.Item], *, side_by_side: bool) -> list[pytest.Item]:
    """Return what was collected, the long first, and a house's tests in their order: last, unless side by side."""
    housed = [one for one in items if path_of(one) in HOUSE]
    rest = sorted((one for one in items if path_of(one) not in HOUSE), key=lambda one: path_of(one) not in LONG)
    housed.sort(key=lambda one: ORDER.index(path_of(one)))
    return [*housed, *rest] if side_by_side else [*rest, *housed]


def path_of(item: pytest.Item) -> str:
    """Return the file of a test, as seen from the root."""
    return item.nodeid.partition("::")[0]
