"""No rule and no panel asks for a metric, or a value of a label, that nobody emits. Everything is really scraped."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import timedelta

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from infra.api.app import create_app
from infra.api.gateway import digest_of
from infra.deploy.grafana.pages import PAGES
from infra.metrics_payments import ScanMetrics
from infra.node.place import LinkEnd, NodePlace
from infra.settings import Settings
from infra.telegram.metrics import TelegramMetrics
from models.errors import ChainAnswerInvalid, ChainUnavailable, ProviderKeyRefused, ToolMissing
from models.mesh import NodeId
from models.payment import Asset, Provider
from models.payment_address import Chain
from models.payment_rules import Ruling
from models.ports import Scope, Token
from models.telemetry import Sample
from tasks.collection import open_counters, open_tracing, serve_metrics
from tests.ebpf.conftest import inside, kernel, objects, pair  # noqa: F401  # fixtures
from tests.fakes.store import FakeStore
from tests.infra.api.world import AS_OPERATOR, MESH, NOW, OPERATE, BrokenStore, StandingClock, over
from tests.infra.deploy.tools import DEPLOY, fetch, free_port, running, tool

pytestmark = pytest.mark.kernel

RULES = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
# What Prometheus puts beside every sample of a target, and `up` itself.
OF_TARGETS = {"job", "instance", "mesh", "node", "chain"}
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "info": ("_info",)}
NO_METRIC = {"by", "on", "and", "or", "unless", "offset", "without", "le"}
Emitted = dict[str, list[dict[str, str]]]


def read(text: str) -> Emitted:
    """Return the labels of every sample by its name; a family that has none now is there with an empty list."""
    found: Emitted = {}
    for family in text_string_to_metric_families(text):
        for suffix in SUFFIXES.get(family.type, ("",)):
            found.setdefault(family.name + suffix, [])
        for sample in family.samples:
            found.setdefault(sample.name, []).append(dict(sample.labels))
    return found


async def gateway() -> str:
    """Scrape a gateway that answered, was refused, and met both kinds of errors that alert."""
    store = FakeStore()
    async with store.unit() as unit:
        await unit.meshes.save(MESH)
        await unit.tokens.add(Token("bob", digest_of(OPERATE), Scope.OPERATE, NOW))
        for role in ("watch-mesh:lab", "collect-node:lab:n0", "scan-chain:tron"):
            await unit.long_runs.claim(role, flow_run_id="f", pid=7, host="h", now=NOW)
        await unit.samples.add("lab", [Sample(NodeId("n0"), 1, 0, NOW - timedelta(seconds=2))])
    app = create_app(store, Settings(mesh="lab"), StandingClock())
    bundle = app.state.gateway
    TelegramMetrics(bundle.metrics.registry)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=AS_OPERATOR) as client:
        for path in ("/ready", "/api/v1/mesh"):
            await client.get(path)
        await client.post("/api/payment/verify", json={})
        for error in (ToolMissing("pg_ctl", "install it"), ZeroDivisionError("a defect")):
            broken = over(BrokenStore(error))
            broken.metrics.error_met = bundle.metrics.error_met  # type: ignore[method-assign]  # one registry for both
            app.state.gateway = broken
            await client.get("/api/v1/mesh")
        app.state.gateway = bundle
        return (await client.get("/metrics")).text


def scan() -> str:
    """Scrape a scan to which everything happened once."""
    metrics, port = ScanMetrics(), free_port()
    for error in (ChainUnavailable("tonapi"), ChainAnswerInvalid("tonapi"), ProviderKeyRefused("tonapi", "KEY")):
        with pytest.raises(type(error)), metrics.asking(Provider.TONAPI, "discover"):
            raise error
    with metrics.asking(Provider.TONAPI, "prove"):
        pass
    metrics.credited(Asset.TON, timedelta(seconds=4))
    metrics.lagging(Chain.TON, timedelta(seconds=2))
    metrics.remarked(Provider.TONAPI, dict.fromkeys(Ruling, 1))
    stop = metrics.serve(port=port)
    try:
        return fetch(f"http://127.0.0.1:{port}/metrics")
    finally:
        stop()


@pytest.fixture(scope="module")
def of_control() -> Emitted:
    return read(asyncio.run(gateway())) | read(scan())


@pytest.fixture
def of_node(pair, tmp_path) -> Iterator[Emitted]:  # noqa: F811  # a fixture
    """Scrape a node with real programs, as a machine of its own that times system calls too."""
    end = LinkEnd(
        interface="end", address="10.9.0.1", peer="b", peer_address="10.9.0.2", peer_loopback="10.9.9.9", cost=96
    )
    place = NodePlace(mesh="x0-s2", node="a", address="10.9.9.8", netns=pair.a, folder=tmp_path, links=(end,))
    port = free_port()
    with (
        closing(inside(pair.a, lambda: open_counters(place))) as counters,
        closing(inside(pair.a, lambda: open_tracing(place.model_copy(update={"netns": None})))) as tracing,
    ):
        stop = serve_metrics(place, counters, tracing, port=port)
        try:
            yield read(fetch(f"http://127.0.0.1:{port}/metrics"))
        finally:
            stop()


@pytest.fixture
def of_others(tmp_path) -> Iterator[Emitted]:
    """Scrape Prometheus itself, with our rules, and Alertmanager."""
    ports = [free_port(), free_port()]
    configuration = tmp_path / "prometheus.yml"
    configuration.write_text(yaml.safe_dump({"rule_files": [str(one) for one in RULES]}))
    addresses = [f"http://127.0.0.1:{one}/metrics" for one in ports]
    with ExitStack() as stack:
        for command, address in zip(commands(tmp_path, configuration, *ports), addresses, strict=True):
            stack.enter_context(running(command, log=tmp_path / "log", ready=address))
        yield read(fetch(addresses[0])) | read(fetch(addresses[1]))


def commands(folder, configuration, port: int, alertmanager_port: int) -> tuple[list[str], list[str]]:
    alerts = folder / "alertmanager.yml"
    alerts.write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
    prometheus = [
        tool("prometheus"),
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    alertmanager = [
        tool("prometheus-alertmanager"),
        f"--config.file={alerts}",
        f"--storage.path={folder}/alerts",
        f"--web.listen-address=127.0.0.1:{alertmanager_port}",
        "--cluster.listen-address=",
    ]
    return prometheus, alertmanager


def selectors(query: str) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Return what a query selects: names, each with its matchers (label, operator, value)."""
    found = []

    def take(match: re.Match[str]) -> str:
        found.append((match[1], re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', match[2])))
        return " "

    rest = re.sub(r"([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}", take, query)
    rest = re.sub(r"\b(by|on|without|ignoring)\s*\([^)]*\)", " ", rest)
    rest = re.sub(r"\[[^\]]*\]|\boffset\s+\w+|\b\d[\w.]*", " ", rest)
    found += [(name, []) for name in re.findall(r"([a-zA-Z_:][\w:]*)\b(?!\s*\()", rest) if name not in NO_METRIC]
    return found


def queries() -> list[tuple[str, str]]:
    rules = [rule for file in RULES for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]
    panels = [
        (f"{page.title}: {panel.title}", query) for page in PAGES for _, row in page.rows for panel in row
        for query, _ in panel.queries
    ]  # fmt: skip
    return [(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules] + panels


def selects(labels: dict[str, str], matchers: list[tuple[str, str, str]]) -> bool:
    verdict = {
        "=": lambda has, wanted: has == wanted,
        "!=": lambda has, wanted: has != wanted,
        "=~": lambda has, wanted: re.fullmatch(wanted, has) is not None,
        "!~": lambda has, wanted: re.fullmatch(wanted, has) is None,
    }
    return all(
        label in labels and verdict[operator](labels[label], wanted)
        for label, operator, wanted in matchers
        if not (wanted.startswith("$") or (label in OF_TARGETS and label not in labels))
    )


def test_reading_a_query_finds_every_name_and_matcher():
    query = 'sum by (job) (rate(a_total{k=~"x|y", n="$n"}[5m])) / on (job) b:c:d > 0.5 and c offset 5m unless absent(d)'
    assert selectors(query) == [
        ("a_total", [("k", "=~", "x|y"), ("n", "=", "$n")]),
        ("b:c:d", []),
        ("c", []),
        ("d", []),
    ]


def test_every_rule_and_every_panel_selects_something_that_is_emitted(of_control, of_node, of_others):
    recorded = {name for name, _ in queries() if ":" in name and " " not in name}
    emitted = {**of_control, **of_node, **{k: v for k, v in of_others.items() if k.startswith(("prom", "alertm"))}}
    emitted["up"] = [{}]
    wrong = []
    for where, query in queries():
        for name, matchers in selectors(query):
            if name in recorded:
                continue
            if name not in emitted:
                wrong.append(f"{where}: nobody emits {name}")
            elif emitted[name] and not any(selects(labels, matchers) for labels in emitted[name]):
                wrong.append(f"{where}: no {name} has {matchers}")
    assert wrong == []
    assert len(emitted) > 100
