"""The steps against a gateway in memory, and against servers that answer wrongly: the sentence names what is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from infra.node.place import LinkEnd, NodePlace
from infra.process import Identity
from infra.runfiles import Phase, RunRecord, write
from infra.smoke import machine
from infra.smoke.caller import Caller
from infra.smoke.gateway import GatewaySteps
from infra.smoke.shop import ShopSteps
from infra.smoke.walk import Skipped, StepError
from models.errors import SourceUnavailable
from models.payment import Asset, Provider
from tests.infra.api.conftest import clock, connect, connect_paced, store  # noqa: F401 - fixtures
from tests.infra.api.world import NOW, OPERATE, PAY, BrokenStore
from tests.infra.shop.counter import scanned


@pytest.fixture
def steps(connect, store) -> GatewaySteps:  # noqa: F811 - the fixture
    return GatewaySteps(Caller(connect(store)), OPERATE)


@pytest.fixture
def shop(connect, store) -> ShopSteps:  # noqa: F811 - the fixture
    return ShopSteps(Caller(connect(store)), PAY, burst_token=None, pay=None)


def answering(*answers: httpx.Response, error: httpx.HTTPError | None = None) -> httpx.AsyncClient:
    """Return a client whose server gives these answers, one a call, the last one for ever."""
    left = list(answers)

    def answer(_: httpx.Request) -> httpx.Response:
        if error is not None:
            raise error
        return left.pop(0) if len(left) > 1 else left[0]

    return httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://there")


async def test_a_gateway_that_is_well_is_told_to_be(steps):
    assert "version" in await steps.alive()
    assert await steps.database() == "the gateway reads it"
    assert "younger" in await steps.watch()
    assert "401" in await steps.token()
    assert "shipped weights" in await steps.model()
    assert await steps.incidents() == "0 known, 0 of them open"


async def test_a_made_up_incident_is_laid_at_its_root_and_a_calm_minute_at_nobodys(steps):
    assert (await steps.root_named()).startswith("store named with confidence 0.")
    assert (await steps.nobody_named()).startswith("no root with")


async def test_a_gateway_that_is_away_is_named_with_its_address():
    caller = Caller(answering(error=httpx.ConnectError("refused")))
    with pytest.raises(StepError, match="http://there does not answer: refused"):
        await GatewaySteps(caller, None).alive()


@pytest.mark.parametrize("content", [b"<html>", b"[]", b"{}"])
async def test_somebody_elses_server_is_no_gateway(content):
    caller = Caller(answering(httpx.Response(200, content=content)))
    with pytest.raises(StepError, match="no gateway of ours"):
        await GatewaySteps(caller, None).alive()


async def test_a_database_that_is_away_is_no_failure_of_the_watch(connect):  # noqa: F811 - the fixture
    steps = GatewaySteps(Caller(connect(BrokenStore(SourceUnavailable("Postgres", "refused")))), OPERATE)
    with pytest.raises(StepError, match="database: Postgres"):
        await steps.database()


async def test_a_watch_that_stopped_beating_is_named_and_the_database_is_not(steps, clock):  # noqa: F811 - the fixture
    clock.at = NOW + timedelta(minutes=1)
    assert await steps.database() == "the gateway reads it"
    with pytest.raises(StepError, match=r"watch-mesh:lab: its last beat is 60\.0 s old"):
        await steps.watch()


async def test_a_node_that_fell_silent_is_named_and_so_is_one_that_was_never_heard(steps, clock):  # noqa: F811 - as above
    clock.at = NOW + timedelta(seconds=28)
    with pytest.raises(StepError) as caught:
        await steps.nodes()
    assert "node n0 has not been heard for 30.0 s" in caught.value.found
    assert "node n1 was never heard" in caught.value.found


async def test_an_unknown_token_says_how_to_make_one(connect, store):  # noqa: F811 - the fixtures
    with pytest.raises(StepError) as caught:
        await GatewaySteps(Caller(connect(store)), "nobody's").token()
    assert "401" in caught.value.found
    assert "token create" in caught.value.mend


async def test_the_wrong_root_is_a_failure():
    told = {"suspects": [{"element": "cart", "confidence": 0.9}], "no_visible_root": 0.1, "method": "guess"}
    steps = GatewaySteps(Caller(answering(httpx.Response(200, json=told))), OPERATE)
    with pytest.raises(StepError, match="cart was named for the root, which was store"):
        await steps.root_named()
    with pytest.raises(StepError, match="cart was blamed for a calm minute"):
        await steps.nobody_named()


@pytest.mark.parametrize(("asset", "provider"), [(Asset.TON, Provider.TONAPI), (Asset.USDT_TRON, Provider.TRONSCAN)])
async def test_without_a_wallet_an_order_is_asked_about_and_given_up(shop, store, asset, provider):  # noqa: F811 - as above
    await scanned(store, at=NOW, provider=provider)
    placed = await shop.order(asset)
    assert "404" in await shop.verify(asset)
    assert isinstance(await shop.pay(asset), Skipped)
    async with store.unit() as unit:
        sale = await unit.ledger.sale(placed.split(",")[0])
    assert sale.order.state == "CANCELLED"


async def test_where_nothing_is_sold_nothing_is_ordered():
    shop = ShopSteps(Caller(answering(httpx.Response(200, json={"plans": []}))), PAY, burst_token=None, pay=None)
    assert isinstance(await shop.order(Asset.TON), Skipped)


async def test_a_chain_that_cannot_be_read_is_named_when_verifying(shop, monkeypatch):
    await shop.order(Asset.TON)
    away = httpx.Response(503, json={"detail": "ton: no provider answers"})
    monkeypatch.setattr(shop, "_caller", Caller(answering(away)))
    with pytest.raises(StepError, match="the chain cannot be read: 503: ton: no provider answers"):
        await shop.verify(Asset.TON)


async def test_asking_too_often_is_refused_and_forgiven(connect_paced, store):  # noqa: F811 - the fixtures
    buyer, _ = connect_paced(store, 60)
    said = await ShopSteps(Caller(buyer), PAY, burst_token=PAY, pay=None).rate_limit()
    assert said.startswith("429 after at most 80 calls")


async def test_a_refusal_that_does_not_say_how_long_is_a_failure():
    caller = Caller(answering(httpx.Response(429, json={})))
    with pytest.raises(StepError, match="429 came without Retry-After"):
        await ShopSteps(caller, PAY, burst_token=PAY, pay=None).rate_limit()


async def test_a_gateway_without_a_limit_is_a_failure():
    caller = Caller(answering(httpx.Response(200, json={})))
    with pytest.raises(StepError, match="were all answered"):
        await ShopSteps(caller, PAY, burst_token=PAY, pay=None).rate_limit()


def test_a_process_that_is_gone_is_named_with_its_log(tmp_path):
    gone = Identity(2**22 - 1, 1, "another boot")
    for order, (name, phase) in enumerate((("lab-chains", Phase.READY), ("deployments", Phase.DONE))):
        record = RunRecord(
            name, gone, phase, restarts=0, order=order, log=f"{name}.log", stop_signal=15, stop_seconds=1.0
        )
        write(tmp_path, record)
    with pytest.raises(StepError) as caught:
        machine.processes(tmp_path)
    assert caught.value.found == "not running: lab-chains"
    assert "lab-chains.log" in caught.value.mend


async def test_prefect_that_is_away_and_one_whose_workers_are_gone_are_two_failures():
    with pytest.raises(StepError, match="Prefect at http://there does not answer: refused"):
        await machine.PrefectSteps(answering(error=httpx.ConnectError("refused"))).well()
    old = [{"name": "worker-control", "last_heartbeat_time": "2020-01-01T00:00:00Z"}]
    with pytest.raises(StepError, match="no worker of the pool mesh was heard lately: worker-control"):
        await machine.PrefectSteps(answering(httpx.Response(200, json=old))).workers("mesh")


@asynccontextmanager
async def page(text: str) -> AsyncIterator[int]:
    """Serve a node's page on this machine and give its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.0 200 OK\r\n\r\n{text}".encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


def node(folder: Path, *, with_link: bool) -> NodePlace:
    end = LinkEnd(interface="to-n1", address="", peer="n1", peer_address="", peer_loopback="", cost=96)
    return NodePlace(mesh="lab", node="n0", address="127.0.0.1", folder=folder, links=(end,) if with_link else ())


async def test_packets_on_a_nodes_page_are_added_up(tmp_path):
    async with page('ebpf_packets_total{direction="rx"} 4\nebpf_packets_total{direction="tx"} 3.0\n') as port:
        said = await machine.node_pages([node(tmp_path, with_link=True)], port=port)
    assert said == "ebpf_packets_total on 1 pages, 7 packets"


async def test_a_page_without_packets_is_a_failure_in_a_mesh_and_may_be_quiet_on_a_machine_alone(tmp_path):
    async with page("ebpf_interface_mtu_bytes 1500\n") as port:
        with pytest.raises(StepError, match="n0: its page counts no packet"):
            await machine.node_pages([node(tmp_path, with_link=True)], port=port)
        assert isinstance(await machine.node_pages([node(tmp_path, with_link=False)], port=port), Skipped)


async def test_a_page_that_is_away_is_named_with_its_node(tmp_path):
    async with page("") as port:
        pass
    with pytest.raises(StepError, match=f"n0: http://127.0.0.1:{port}/metrics does not answer"):
        await machine.node_pages([node(tmp_path, with_link=False)], port=port)


async def test_prometheus_without_our_packets_is_a_failure():
    def with_results(result: list) -> httpx.AsyncClient:
        return answering(httpx.Response(200, json={"data": {"result": result}}))

    with pytest.raises(StepError, match="no ebpf_packets_total of the mesh lab"):
        await machine.in_prometheus(with_results([]), "lab")
    found = [{"metric": {"node": "n0"}, "value": [1, "5"]}, {"metric": {"node": "n1"}, "value": [1, "6"]}]
    assert await machine.in_prometheus(with_results(found), "lab") == "2 nodes, 11 packets"
