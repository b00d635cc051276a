"""Becoming a node over HTTP, and going through the door to Prefect with what one got."""

from __future__ import annotations

import asyncio
import io
import json
from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import make_url

from infra.api.app import create_app
from infra.join import Reception
from infra.log import configure
from infra.node.place import NodePlace
from infra.node.signing import create_key
from infra.prefect_door import PrefectDoor
from infra.settings import Settings
from models.errors import ConfigurationInvalid
from models.joining import JoinRefused, role_of
from models.ports import Store
from tests.infra.api.world import AS_OPERATOR, MESH, StandingClock

HOUR = timedelta(hours=1)
OWN = "postgresql+asyncpg://control:hunter2@db.example:5432/app?ssl=require"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    create_key(tmp_path)
    made = Settings(mesh="lab", state=tmp_path, places=tmp_path / "places")
    return made.model_copy(update={"database_url": SecretStr(OWN)})


@pytest.fixture
def reception(store: Store, clock: StandingClock, settings: Settings) -> Reception:
    return Reception(store, clock, settings)


def prefect(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"path": request.url.path, "auth": request.headers["authorization"]})


@pytest.fixture
async def gateway(store: Store, clock: StandingClock, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    door = PrefectDoor("http://prefect/api", auth="admin:hunter2", transport=httpx.MockTransport(prefect))
    app = create_app(store, settings, clock, door=door)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client
    await door.close()


async def join(gateway: httpx.AsyncClient, token: str, node: str = "n1", mesh: str = "lab") -> httpx.Response:
    return await gateway.post(
        "/api/v1/join", json={"node": node, "mesh": mesh}, headers={"Authorization": f"Bearer {token}"}
    )


async def test_a_machine_with_a_token_becomes_a_node_with_credentials_of_its_own(gateway, reception, store, settings):
    token = await reception.make_token(node=None, lasts=HOUR, by="cli:root")
    said = (await join(gateway, token)).json()
    address = make_url(said["database_url"])
    assert (address.host, address.database, address.username) == ("db.example", "app", role_of("lab", "n1"))
    assert address.query == {"ssl": "require"}
    assert "hunter2" not in json.dumps(said)
    assert b64decode(said["control_pub"]) == (settings.state / "control.pub").read_bytes()
    assert said["place"] is None
    async with store.unit() as unit:
        joined = await unit.joins.get("lab", "n1")
    name, _, shown = said["prefect_auth"].partition(":")
    assert (name, await reception.of_pass(name, shown)) == ("n1", joined)
    assert shown not in repr(joined)


async def test_a_declared_place_comes_along(gateway, reception, settings):
    settings.places.mkdir()
    place = NodePlace(mesh="lab", node="n1", address="10.42.0.2", folder=Path("/var/lib/x0tta6bl4-node"))
    (settings.places / "n1.json").write_text(place.model_dump_json())
    token = await reception.make_token(node=None, lasts=HOUR, by="cli:root")
    assert NodePlace.model_validate_json((await join(gateway, token)).json()["place"]) == place


async def test_a_token_for_a_new_name_makes_the_node_known(gateway, reception, store):
    token = await reception.make_token(node="guest", lasts=HOUR, by="cli:root")
    assert (await join(gateway, token, "guest")).status_code == 200
    async with store.unit() as unit:
        mesh = await unit.meshes.load("lab")
    assert [node.id for node in mesh.nodes] == [*(node.id for node in MESH.nodes), "guest"]
    assert mesh.links == MESH.links


@pytest.mark.parametrize(
    ("token_for", "wanted", "sentence"),
    [
        (None, ("n9", "lab"), "declares no node n9"),
        (None, ("n1", "another"), "is of mesh lab, not another"),
        ("n2", ("n1", "lab"), "is for node n2, not n1"),
        (None, ("n1/../n2", "lab"), "a node's name has letters"),
        (None, ("-n1", "lab"), "a node's name has letters"),
    ],
)
async def test_what_does_not_fit_is_refused_with_what_to_do_and_uses_no_token(
    gateway, reception, token_for, wanted, sentence
):
    token = await reception.make_token(node=token_for, lasts=HOUR, by="cli:root")
    answer = await join(gateway, token, *wanted)
    assert (answer.status_code, sentence in answer.json()["detail"]) == (403, True), answer.text
    assert (await join(gateway, token, token_for or "n1")).status_code == 200


async def test_a_token_joins_once_and_a_name_is_joined_once(gateway, reception):
    first, second = [await reception.make_token(node=None, lasts=HOUR, by="cli:root") for _ in range(2)]
    assert (await join(gateway, first)).status_code == 200
    again = await join(gateway, first, "n2")
    assert (again.status_code, again.json()["detail"]) == (
        403,
        "this join token was used, by n1; make one for each node",
    )
    taken = await join(gateway, second)
    assert (taken.status_code, "n1 has joined lab already" in taken.json()["detail"]) == (403, True)


async def test_of_twenty_that_show_one_token_at_once_one_becomes_a_node(gateway, reception):
    token = await reception.make_token(node=None, lasts=HOUR, by="cli:root")
    answers = await asyncio.gather(*(join(gateway, token) for _ in range(20)))
    assert sorted(one.status_code for one in answers) == [200, *[403] * 19]


async def test_an_old_an_unknown_and_no_token_let_nobody_in(gateway, reception, clock):
    token = await reception.make_token(node=None, lasts=HOUR, by="cli:root")
    clock.at += HOUR
    old, unknown = await join(gateway, token), await join(gateway, "unknown")
    assert old.json()["detail"] == unknown.json()["detail"]
    assert (old.status_code, unknown.status_code) == (403, 403)
    assert (await gateway.post("/api/v1/join", json={"node": "n1", "mesh": "lab"})).status_code == 401


async def test_a_join_token_opens_nothing_else_and_no_other_token_joins(gateway, reception):
    token = await reception.make_token(node=None, lasts=HOUR, by="cli:root")
    assert (await gateway.get("/api/v1/mesh", headers={"Authorization": f"Bearer {token}"})).status_code == 401
    assert (await gateway.get("/api/prefect/work_pools/mesh", auth=("n1", token))).status_code == 401
    operate = AS_OPERATOR["Authorization"].removeprefix("Bearer ")
    assert (await join(gateway, operate)).status_code == 403


async def test_an_expelled_node_is_a_stranger_and_its_name_is_free(gateway, reception):
    token = await reception.make_token(node=None, lasts=HOUR, by="cli:root")
    name, shown = (await join(gateway, token)).json()["prefect_auth"].split(":")
    assert (await gateway.get("/api/prefect/work_pools/mesh", auth=(name, shown))).status_code == 200
    await reception.expel("n1")
    assert (await gateway.get("/api/prefect/work_pools/mesh", auth=(name, shown))).status_code == 401
    with pytest.raises(JoinRefused, match="n1 has not joined lab"):
        await reception.expel("n1")
    again = await reception.make_token(node=None, lasts=HOUR, by="cli:root")
    assert (await join(gateway, again)).status_code == 200


async def test_the_door_knows_a_node_by_its_own_pass_and_name(gateway, reception):
    shown = {}
    for node in ("n1", "n2"):
        token = await reception.make_token(node=node, lasts=HOUR, by="cli:root")
        shown[node] = (await join(gateway, token, node)).json()["prefect_auth"].split(":")[1]
    asked = "/api/prefect/work_pools/mesh"
    answer = await gateway.get(asked, auth=("n1", shown["n1"]))
    assert answer.json() == {"path": "/api/work_pools/mesh", "auth": "Basic YWRtaW46aHVudGVyMg=="}
    for auth in (("n1", shown["n2"]), ("n1", ""), ("", ""), ("control", shown["n1"])):
        assert (await gateway.get(asked, auth=auth)).status_code == 401
    assert (await gateway.get(asked)).status_code == 401
    assert (await gateway.get(asked, headers=AS_OPERATOR)).status_code == 401
    refused = await gateway.get("/api/prefect/admin/settings", auth=("n1", shown["n1"]))
    assert (refused.status_code, refused.headers["content-type"]) == (403, "application/problem+json")


async def test_health_takes_no_pass_as_in_prefect_itself(gateway):
    answer = await gateway.get("/api/prefect/health")
    assert (answer.status_code, answer.json()) == (200, True)


async def test_a_gateway_that_was_not_told_where_prefect_is_says_so(connect, store):
    answer = await connect(store).get("/api/prefect/health")
    assert (answer.status_code, "PREFECT_API_URL" in answer.json()["detail"]) == (503, True)


@pytest.mark.parametrize("path", ["events/in", "events/out", "logs/out", "work_pools/mesh/workers/connect"])
async def test_no_websocket_is_passed_on(store, clock, settings, path):
    said: list[str] = []
    incoming = iter([{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1006}])

    async def receive():
        return next(incoming)

    async def send(message):
        said.append(message["type"])

    full = f"/api/prefect/{path}"
    scope = {"type": "websocket", "path": full, "raw_path": full.encode(), "headers": [], "query_string": b""}
    await create_app(store, settings, clock)({**scope, "subprotocols": ["prefect"], "root_path": ""}, receive, send)
    assert said == ["websocket.close"]


@pytest.mark.parametrize("lasts", [timedelta(0), timedelta(days=8)])
async def test_a_token_lasts_for_something_and_not_for_ever(reception, lasts):
    with pytest.raises(JoinRefused, match="at most 7 days"):
        await reception.make_token(node=None, lasts=lasts, by="cli:root")


@pytest.mark.parametrize("own", [None, "postgresql+asyncpg://postgres@/app?host=/run/x0&port=5432"])
async def test_where_no_node_could_reach_the_database_no_token_is_made(store, clock, settings, own):
    told = settings.model_copy(update={"database_url": None if own is None else SecretStr(own)})
    with pytest.raises(ConfigurationInvalid, match="X0_NODE_DATABASE"):
        await Reception(store, clock, told).make_token(node=None, lasts=HOUR, by="cli:root")
    open_to_nodes = told.model_copy(update={"node_database": "db.example:5432/app"})
    await Reception(store, clock, open_to_nodes).make_token(node=None, lasts=HOUR, by="cli:root")


async def test_an_address_for_nodes_that_is_none_is_named(store, clock, settings):
    told = settings.model_copy(update={"node_database": "db:port/app"})
    with pytest.raises(ConfigurationInvalid, match="X0_NODE_DATABASE is no address"):
        await Reception(store, clock, told).make_token(node=None, lasts=HOUR, by="cli:root")


async def test_a_stranger_is_refused_and_learns_nothing_of_what_the_installation_lacks(store, clock, settings):
    told = Reception(store, clock, settings.model_copy(update={"database_url": None}))
    with pytest.raises(JoinRefused):
        await told.join("made up", "n1", mesh="lab")


async def test_no_secret_of_a_joining_is_logged(gateway, reception, capsys):
    log = io.StringIO()
    configure(log)
    token = await reception.make_token(node=None, lasts=HOUR, by="cli:root")
    said = (await join(gateway, token)).json()
    await join(gateway, token)
    await gateway.get("/api/prefect/admin/settings", auth=tuple(said["prefect_auth"].split(":")))
    written = log.getvalue() + capsys.readouterr().err
    assert "node joined" in written
    for secret in (token, said["prefect_auth"].split(":")[1], make_url(said["database_url"]).password, "hunter2"):
        assert secret not in written


def test_two_nodes_never_share_a_role_that_postgres_cut_short() -> None:
    long = "n" * 60
    names: list[Callable[[], str]] = [lambda: role_of("lab", long + "a"), lambda: role_of("lab", long + "b")]
    assert len({name() for name in names}) == 2
    assert all(len(name()) <= 63 for name in names)
