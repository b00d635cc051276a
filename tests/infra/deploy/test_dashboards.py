"""The dashboards in the tree are what the builder writes, and are provisioned."""

from __future__ import annotations

import json

import pytest
import yaml

from infra.deploy.grafana.__main__ import main
from infra.deploy.grafana.build import FOLDER, file_of
from infra.deploy.grafana.pages import PAGES
from tests.infra.deploy.tools import DEPLOY

PROVISIONING = DEPLOY / "grafana" / "provisioning"


def test_the_files_are_what_the_builder_writes_and_no_other_is_there(tmp_path):
    main([str(tmp_path)])
    written = {one.name: one.read_text() for one in tmp_path.iterdir()}
    assert {one.name: one.read_text() for one in FOLDER.iterdir()} == written
    assert set(written) == {f"{one}.json" for one in ("mesh", "node", "healing", "payments", "ebpf", "platform")}


@pytest.mark.parametrize("page", PAGES, ids=lambda one: one.uid)
def test_every_panel_asks_the_provisioned_source_and_none_covers_another(page):
    document = json.loads(file_of(page).read_text())
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())["datasources"]
    panels = [one for one in document["panels"] if one["type"] != "row"]
    assert sum(len(panels) for _, panels in page.rows) == len(panels)
    taken = set()
    for one in panels:
        assert one["datasource"]["uid"] == source["uid"]
        assert all(target["expr"] for target in one["targets"])
        place = one["gridPos"]
        cells = {(place["x"] + column, place["y"] + row) for column in range(place["w"]) for row in range(place["h"])}
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_only_a_page_that_lets_one_choose_a_node_asks_for_the_chosen_one():
    for page in PAGES:
        queries = [query for _, panels in page.rows for panel in panels for query, _ in panel.queries]
        assert any("$node" in one for one in queries) == page.by_node
        names = [one["name"] for one in json.loads(file_of(page).read_text())["templating"].get("list", ())]
        assert names == (["node"] if page.by_node else [])


def test_the_folder_of_dashboards_is_provisioned():
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "x0tta6bl4.yml").read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"] == "/etc/grafana/dashboards"
