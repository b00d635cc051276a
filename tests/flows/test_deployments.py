"""The table of deployments: what runs where and when, and that nothing which changes the mesh does so unasked."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from flows.deploy import paid_on, posts
from flows.deployments import apply, table
from infra.shop.settings import ShopSettings
from models.payment_address import Chain
from tests.fakes.chains.examples import OURS

PLACES = {"n0": Path("/run/x0/n0/node.json"), "n1": Path("/run/x0/n1/node.json")}


def shown(*, heal: bool, chains: tuple[Chain, ...] = ()) -> list[tuple[str, str, timedelta | None]]:
    rows = table("lab", PLACES, heal=heal, chains=chains)
    return [(f"{row.flow.name}/{row.name}", row.queue, row.every) for row in rows]


def parameters(name: str, *, heal: bool) -> dict[str, object]:
    return next(row.parameters for row in table("lab", PLACES, heal=heal) if f"{row.flow.name}/{row.name}" == name)


def test_the_table_is_this_and_no_other():
    assert shown(heal=True) == [
        ("watch-mesh/lab", "control", None),
        ("heal-mesh/audit", "control", timedelta(minutes=5)),
        ("heal-mesh/manual", "control", None),
        ("keep-house/retention", "control", timedelta(minutes=6)),
        ("review-mesh/manual", "control", None),
        ("train-graphsage/nightly", "control", timedelta(days=1)),
        ("train-graphsage/manual", "control", None),
        ("analyze-incident/manual", "control", None),
        ("validate-causes/manual", "control", None),
        ("collect-node/n0", "node-n0", None),
        ("collect-node/n1", "node-n1", None),
    ]
    assert shown(heal=False) == shown(heal=True)


def test_where_something_is_sold_each_chain_has_a_long_run_and_the_ledger_is_looked_after():
    assert shown(heal=True, chains=(Chain.TON,))[11:] == [
        ("scan-chain/ton", "control", None),
        ("confirm-payment/manual", "control", None),
        ("expire-orders/hourly", "control", timedelta(hours=1)),
        ("reconcile-ledger/nightly", "control", timedelta(days=1)),
    ]
    assert shown(heal=True, chains=tuple(Chain))[11:13] == [
        ("scan-chain/tron", "control", None),
        ("scan-chain/ton", "control", None),
    ]


def test_the_supervisor_keeps_a_run_for_each_chain_that_we_are_paid_on():
    made = {"watch-mesh/lab": "1", "scan-chain/ton": "2"}
    assert posts(made, mesh="lab", nodes=[], chains=[Chain.TON]) == {"watch-mesh:lab": "1", "scan-chain:ton": "2"}


def test_nothing_is_scanned_where_no_address_is_set():
    assert paid_on(ShopSettings(deposit_tron=None, deposit_ton=None)) == ()
    assert paid_on(ShopSettings(deposit_tron=str(OURS), deposit_ton=None)) == (Chain.TRON,)


def test_a_turn_by_hand_is_a_dry_run_unless_told_otherwise():
    asked = {"mesh": "lab", "incident": None, "dry_run": True, "approved_plan": None}
    assert parameters("heal-mesh/manual", heal=True) == {"asked": asked}


@pytest.mark.parametrize("heal", [True, False])
def test_an_installation_that_only_watches_changes_nothing_by_schedule_either(heal):
    assert parameters("heal-mesh/audit", heal=heal)["asked"]["dry_run"] is not heal
    assert parameters("watch-mesh/lab", heal=heal)["asked"]["heal"] is heal
    assert parameters("train-graphsage/nightly", heal=heal)["asked"]["dry_run"] is not heal
    assert parameters("train-graphsage/manual", heal=heal)["asked"]["dry_run"]


def test_a_node_is_collected_from_its_own_place():
    asked = {"mesh": "lab", "node": "n1", "place": "/run/x0/n1/node.json"}
    assert parameters("collect-node/n1", heal=True) == {"asked": asked}


@pytest.mark.flow
async def test_prefect_agrees_with_the_table_and_no_long_run_has_a_limit(prefect_server):
    from prefect.client.orchestration import get_client  # noqa: PLC0415 - seconds of import, for this test only

    rows = table("lab", PLACES, heal=True, chains=tuple(Chain))
    made = await apply(rows)
    again = await apply(rows)
    async with get_client() as client:
        known = {
            f"{row.flow.name}/{row.name}": await client.read_deployment(made[f"{row.flow.name}/{row.name}"])
            for row in rows
        }
        pool = await client.read_work_pool("mesh")
    assert again == made
    assert (pool.type, pool.concurrency_limit) == ("process", None)
    for row in rows:
        one = known[f"{row.flow.name}/{row.name}"]
        assert (one.work_queue_name, one.parameters) == (row.queue, row.parameters)
        assert one.global_concurrency_limit is None
        assert [schedule.schedule.interval for schedule in one.schedules] == ([row.every] if row.every else [])
    assert known["heal-mesh/manual"].entrypoint == "flows.healing.heal_mesh"
