"""Prometheus' rules: they load, each alert was seen firing and silent, and has its page."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from infra.deploy.prometheus.__main__ import main
from infra.node.place import NodePlace
from infra.scrape import nodes, prepare
from infra.settings import Settings
from models.payment_address import Chain
from tests.infra.deploy.tools import DEPLOY, ROOT, tool

PROMETHEUS = DEPLOY / "prometheus"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
TRIED = sorted((Path(__file__).parent / "promtool").glob("*.yml"))
PAGE = (ROOT / "docs" / "alerts.md").read_text()
SECTIONS = dict(re.findall(r"^## (\w+)\n(critical|warning)?", PAGE, re.MULTILINE))


def rules() -> list[dict]:
    return [rule for file in RULES for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


ALERTS = [one for one in rules() if "alert" in one]


def promtool(*arguments: str) -> None:
    done = subprocess.run([tool("promtool"), *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_the_configuration_and_the_rules():
    promtool("check", "config", str(PROMETHEUS / "prometheus.yml"))
    promtool("check", "rules", "--lint-fatal", *map(str, RULES))


@pytest.mark.parametrize("file", TRIED, ids=lambda one: one.stem)
def test_every_alert_fires_when_it_should_and_is_silent_when_it_should(file):
    promtool("test", "rules", str(file))


def test_no_alert_is_untried_in_either_way():
    fired, silent = set(), set()
    for file in TRIED:
        for case in yaml.safe_load(file.read_text())["tests"]:
            for one in case["alert_rule_test"]:
                (fired if one["exp_alerts"] else silent).add(one["alertname"])
    assert fired == silent == {one["alert"] for one in ALERTS}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda one: one["alert"])
def test_an_alert_says_how_bad_it_is_whose_it_is_and_where_its_page_stands(rule):
    assert rule["labels"]["area"] in {"mesh", "healing", "payments", "platform"}
    assert rule["annotations"]["runbook_url"] == f"docs/alerts.md#{rule['alert'].lower()}"
    assert SECTIONS[rule["alert"]] == rule["labels"]["severity"]
    assert rule["annotations"]["summary"].endswith(".")


def test_no_page_is_left_of_an_alert_that_is_gone():
    with_severity = {name for name, severity in SECTIONS.items() if severity}
    assert with_severity == {one["alert"] for one in ALERTS}


def test_no_two_rules_have_one_name():
    names = [one.get("alert") or one["record"] for one in rules()]
    assert len(names) == len(set(names))


def test_every_file_of_targets_that_is_configured_is_there():
    jobs = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    files = [file for job in jobs for one in job.get("file_sd_configs", ()) for file in one["files"]]
    assert len(files) == 3
    assert all(isinstance(yaml.safe_load((PROMETHEUS / one).read_text()), list) for one in files)


def test_the_nodes_of_a_machine_become_targets_with_the_labels_that_rules_need(tmp_path):
    for node, management in (("n0", "10.44.0.1"), ("n1", None)):
        folder = tmp_path / "lab" / "mine" / node
        NodePlace(mesh="mine", node=node, address="10.42.0.1", management=management, folder=folder).save()
    file = tmp_path / "nodes.yml"
    main([str(file)], Settings(state=tmp_path, mesh="mine", node_metrics_port=9000))
    assert yaml.safe_load(file.read_text()) == [
        {"targets": ["10.44.0.1:9000"], "labels": {"mesh": "mine", "node": "n0"}},
        {"targets": ["127.0.0.1:9000"], "labels": {"mesh": "mine", "node": "n1"}},
    ]
    assert yaml.safe_load(nodes([], port=9000)) == []


def test_an_installation_leaves_a_folder_from_which_a_prometheus_of_its_machine_runs(tmp_path):
    settings = Settings(state=tmp_path, mesh="mine", api_port=8081, node_metrics_port=9000, ton_metrics_port=9001)
    place = NodePlace(mesh="mine", node="n0", address="127.0.0.1", folder=tmp_path)
    for _ in range(2):  # every start writes it anew
        folder = prepare(settings, [place], chains={Chain.TON})
    promtool("check", "config", str(folder / "prometheus.yml"))
    found = {one.stem: yaml.safe_load(one.read_text()) for one in (folder / "targets").glob("*.yml")}
    assert found == {
        "gateway": [{"targets": ["127.0.0.1:8081"]}],
        "nodes": [{"targets": ["127.0.0.1:9000"], "labels": {"mesh": "mine", "node": "n0"}}],
        "scans": [{"targets": ["127.0.0.1:9001"], "labels": {"chain": "ton"}}],
    }
