"""Alertmanager's webhook at the gateway: written down, a reason to look, never evidence."""

from __future__ import annotations

import json
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
import structlog
import yaml

from tests.infra.api.conftest import clock, connect, operator, reader, store  # noqa: F401  # fixtures
from tests.infra.api.world import NOW
from tests.infra.deploy.tools import ROOT, tool

PATH = "/api/v1/alerts"
CONFIGURATION = ROOT / "infra" / "deploy" / "alertmanager" / "alertmanager.yml"


def alert(name: str = "CarrierDown", status: str = "firing", since: str = "2026-03-01T11:59:00Z", **labels: str):
    return {
        "status": status,
        "labels": {"alertname": name, "area": "mesh", "severity": "warning", **labels},
        "annotations": {"summary": "no carrier", "runbook_url": "docs/alerts.md#carrierdown"},
        "startsAt": since,
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph",
        "fingerprint": "9f1c",
    }


def notification(*alerts: dict) -> dict:
    """Return what Alertmanager 0.25 sends, as it was recorded."""
    return {
        "receiver": "gateway",
        "status": "firing",
        "alerts": list(alerts),
        "groupLabels": {"alertname": "CarrierDown"},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager:9093",
        "version": "4",
        "groupKey": '{}/{area="mesh"}:{alertname="CarrierDown"}',
        "truncatedAlerts": 0,
    }


async def requests(store):  # noqa: F811  # a fixture's value
    async with store.unit() as unit:
        return await unit.requests.waiting("lab")


async def test_an_alert_that_fires_asks_for_one_turn_as_an_audit_does(operator, store):  # noqa: F811  # fixtures
    answer = await operator.post(PATH, json=notification(alert(node="n1"), alert("NodeSilent", node="n2")))
    assert answer.status_code == 202
    (asked,) = await requests(store)
    assert (asked.asked_by, asked.dry_run, asked.asked_at) == ("alert:CarrierDown,NodeSilent", False, NOW)
    told = answer.json()
    assert told == {"firing": 2, "resolved": 0, "request": asked.id, "status_url": f"/api/v1/heal/{asked.id}"}
    assert answer.headers["location"] == told["status_url"]
    assert (await operator.get(told["status_url"])).json()["is_done"] is False


async def test_the_same_alerts_told_again_ask_nothing_anew(operator, store, clock):  # noqa: F811  # fixtures
    both = alert(node="n1"), alert(node="n2")
    first = await operator.post(PATH, json=notification(*both))
    async with store.unit() as unit:
        await unit.requests.finish(first.json()["request"], "no incident waits")
    clock.at = NOW + timedelta(hours=4)
    again = await operator.post(PATH, json=notification(*reversed(both)))
    assert again.json()["request"] == first.json()["request"]
    assert await requests(store) == []


async def test_an_alert_that_fires_anew_asks_anew(operator, store):  # noqa: F811  # fixtures
    first = await operator.post(PATH, json=notification(alert()))
    async with store.unit() as unit:
        await unit.requests.finish(first.json()["request"], "no incident waits")
    later = await operator.post(PATH, json=notification(alert(since="2026-03-01T15:00:00Z")))
    assert [one.id for one in await requests(store)] == [later.json()["request"]] != [first.json()["request"]]


async def test_while_one_turn_of_an_alert_waits_a_storm_asks_for_no_second(operator, store):  # noqa: F811  # fixtures
    await operator.post("/api/v1/heal", json={"id": "by-hand"})
    answers = [await operator.post(PATH, json=notification(alert(node=f"n{one}"))) for one in range(9)]
    assert len({one.json()["request"] for one in answers}) == 1
    assert len(await requests(store)) == 2


@pytest.mark.parametrize("told", [alert(status="resolved"), alert(mesh="elsewhere")])
async def test_what_ended_and_what_is_another_meshs_asks_for_nothing(operator, store, told):  # noqa: F811  # fixtures
    answer = await operator.post(PATH, json=notification(told))
    assert (answer.status_code, answer.json()["request"]) == (202, None)
    assert await requests(store) == []


async def test_alerts_are_written_down_with_their_labels_and_what_no_log_takes_is_replaced(operator):  # noqa: F811
    with structlog.testing.capture_logs() as lines:
        told = notification(alert(node="n\n\x00\ud800" + "x" * 999))
        answer = await operator.post(PATH, content=json.dumps(told))
    assert answer.status_code == 202
    (line,) = [one for one in lines if one["event"] == "alerts taken"]
    assert line["labels"][0]["node"] == "n???" + "x" * 196
    assert line["by"] == "bob"


async def test_a_body_that_is_no_notification_is_422(operator):  # noqa: F811  # a fixture
    for body in ({}, [], {"alerts": [{}]}, {"alerts": [alert(status="perhaps")]}):
        assert (await operator.post(PATH, json=body)).status_code == 422


async def test_only_who_may_operate_may_bring_alerts(reader, connect, store):  # noqa: F811  # fixtures
    assert (await reader.post(PATH, json=notification(alert()))).status_code == 403
    assert (await connect(store).post(PATH, json=notification(alert()))).status_code == 401
    assert await requests(store) == []


def test_amtool_takes_the_configuration_and_sends_the_meshs_alerts_to_the_gateway_and_to_people():
    def routed(**labels: str) -> list[str]:
        told = [f"{name}={value}" for name, value in labels.items()]
        command = [tool("amtool"), "config", "routes", "test", f"--config.file={CONFIGURATION}", *told]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().split(",")

    subprocess.run([tool("amtool"), "check-config", str(CONFIGURATION)], check=True, capture_output=True)
    assert routed(alertname="CarrierDown", area="mesh") == ["gateway", "people"]
    assert routed(alertname="ScanDown", area="payments") == ["people"]


def test_what_alertmanager_holds_back_are_alerts_that_exist():
    rules = Path(ROOT / "infra/deploy/prometheus/rules").glob("*.yml")
    known = {
        rule["alert"]
        for one in rules
        for group in yaml.safe_load(one.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    named = {
        name
        for rule in yaml.safe_load(CONFIGURATION.read_text())["inhibit_rules"]
        for matcher in [*rule["source_matchers"], *rule["target_matchers"]]
        for name in matcher.split('"')[1].split("|")
    }
    assert named <= known
