"""What a node's own role in the database can do: everything its collector does, and nothing else, to nobody else.

The owner of the tables is an ordinary role here, as on a server of somebody else's: a superuser would prove nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import asyncpg
import pytest
from sqlalchemy import make_url

from infra.clock import SystemClock
from infra.db.cluster import Cluster
from infra.db.connections import listener_arguments
from infra.db.longrun import hold_role
from infra.db.migrate import migrate
from infra.db.tables import Base
from infra.db.unit import PostgresStore
from infra.node.signing import Ed25519Signer
from models.errors import BrokenError, ConfigurationInvalid
from models.gate import Duty, admission
from models.incident import Incident, IncidentId, IncidentState
from models.joining import JoinedNode, role_of
from models.mesh import Element, NodeId
from models.remedy import Action, ActionState, OperationId, OperationRecord, Order, PlanHash, RemedyName, Verb
from tests.conftest import execute
from tests.fakes.node import FakeActuator
from tests.owned import POOR, owned_database
from tests.tasks.world import KEY, LINK, baseline_of, ring, station

pytestmark = pytest.mark.postgres

MESH = ring()
OWN, OTHER = MESH.nodes[1].id, MESH.nodes[2].id
PASSWORD = "correct-horse"  # noqa: S105 - of a cluster that lives for one test run
# What a node may do with each table: its own rows' columns only. A table that is not here is closed to it, and one that
# is in neither list fails a test: whoever makes a table decides.
OPEN = {
    "meshes": {"SELECT"},
    "samples": {"INSERT"},
    "baselines": {"SELECT", "INSERT"},
    "operations": {"SELECT", "UPDATE"},
    "duties": {"SELECT", "UPDATE"},
    "long_runs": {"SELECT", "INSERT", "UPDATE"},
}
CLOSED = {
    "admissions",
    "audit",
    "buttons",
    "cases",
    "chat_languages",
    "credits",
    "decisions",
    "diagnoses",
    "fits",
    "guards",
    "heal_requests",
    "incidents",
    "join_tokens",
    "joined_nodes",
    "licences",
    "models",
    "order_cards",
    "orders",
    "outbox",
    "outcomes",
    "reaches",
    "remedies",
    "set_asides",
    "sightings",
    "tokens",
    "transfers",
    "validations",
    "verifications",
    "wishes",
}


@dataclass(frozen=True)
class Installation:
    """A database whose owner is an ordinary role, with one node that joined."""

    control: PostgresStore
    control_url: str
    node_url: str


@pytest.fixture
async def installation(cluster: Cluster) -> AsyncIterator[Installation]:
    async with owned_database(cluster, "owned") as here:
        role = role_of(MESH.name, OWN)
        node_url = here.set(username=role, password=PASSWORD).render_as_string(hide_password=False)
        control = PostgresStore(here.render_as_string())
        async with control.unit() as unit:
            await unit.meshes.save(MESH)
            joined = JoinedNode(MESH.name, OWN, role, "digest", SystemClock().now())
            await unit.joins.admit(joined, password=PASSWORD)
        yield Installation(control, here.render_as_string(), node_url)
        await control.close()


@pytest.fixture
async def as_node(installation: Installation) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(**listener_arguments(installation.node_url))
    yield connection
    await connection.close()


@pytest.fixture
async def as_control(installation: Installation) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(**listener_arguments(installation.control_url))
    yield connection
    await connection.close()


async def post_orders(store: PostgresStore, node: NodeId, name: str) -> None:
    """Ask a node for a remedy's action and for a duty."""
    now = SystemClock().now()
    action = Action(node, Verb.SET_COST, {"interface": "to-n2", "cost": 5000}, Element.of_link(LINK))
    plan = PlanHash("p" * 64)
    order = Order(OperationId(name), plan, action, 1, now + timedelta(seconds=60), timedelta(seconds=20))
    record = OperationRecord(
        order.operation, IncidentId("i1"), RemedyName.COST_OUT_LINK, plan, action, ActionState.REQUESTED, now
    )
    gate = admission(node, "10.45.0.2", now + timedelta(days=1))
    duty = Duty(OperationId(f"duty-{name}"), gate, 1, ActionState.REQUESTED, now)
    opening = Order(duty.operation, plan, gate, 1, now + timedelta(seconds=60), timedelta(seconds=20))
    signer = Ed25519Signer(KEY)
    async with store.unit() as unit:
        await unit.incidents.save(Incident(IncidentId("i1"), MESH.name, IncidentState.HEALING, now, ()))
        await unit.actions.request(MESH.name, record, signer.sign(order))
        await unit.duties.request(MESH.name, duty, signer.sign(opening))


async def test_a_collector_does_all_its_work_with_its_nodes_role(installation: Installation):
    clock = SystemClock()
    await post_orders(installation.control, OWN, "op-own")
    own = PostgresStore(installation.node_url)
    one = station(MESH, OWN, own, clock, FakeActuator(OWN, KEY.public_key(), clock))
    try:
        async with hold_role(
            installation.node_url, f"collect-node:{MESH.name}:{OWN}", flow_run_id="run", clock=clock
        ) as held:
            await one.tick()
            await one.tick()
            await one.carry()
            await one.tell_leases()
            await held.beat()
        async with own.unit() as unit:
            assert await unit.meshes.load(MESH.name) == MESH
            assert [run.role for run in await unit.long_runs.all()] == [f"collect-node:{MESH.name}:{OWN}"]
    finally:
        await own.close()
    async with installation.control.unit() as unit:
        assert (await unit.samples.latest(MESH.name))[OWN].sequence == 1
        recorded = await unit.meshes.baseline(MESH.name, OWN)
        assert recorded is not None
        assert recorded.version == 1
        done = await unit.actions.get(OperationId("op-own"))
        assert done is not None
        assert done.state is ActionState.APPLIED
        assert [one.report is not None for one in await unit.duties.of_node(MESH.name, OWN)] == [True]


def test_of_every_table_somebody_decided_what_a_node_may():
    assert set(Base.metadata.tables) == set(OPEN) | CLOSED
    assert not set(OPEN) & CLOSED


async def test_a_node_has_no_right_to_a_table_or_a_command_that_was_not_decided(as_node: asyncpg.Connection):
    rows = await as_node.fetch(
        "SELECT c.relname AS name, p.command FROM pg_class c, pg_namespace n,"
        " unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS p (command)"
        " WHERE n.oid = c.relnamespace AND n.nspname = 'public' AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"
        " AND (has_table_privilege(c.oid, p.command)"
        "  OR p.command IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES') AND has_any_column_privilege(c.oid, p.command))"
    )
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row["name"], set()).add(row["command"])
    assert found == OPEN


async def test_every_table_that_is_open_shows_rows_by_its_rules_only(as_control: asyncpg.Connection):
    rows = await as_control.fetch("SELECT relname FROM pg_class WHERE relrowsecurity AND relkind = 'r'")
    assert {row["relname"] for row in rows} == set(OPEN)
    commands = {"r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE", "*": "ALL"}
    rules = await as_control.fetch("SELECT polrelid::regclass::text AS name, polcmd::text AS cmd FROM pg_policy")
    assert {(one["name"], commands[one["cmd"]]) for one in rules} == {
        (name, command) for name, allowed in OPEN.items() for command in allowed
    }


async def fill_in_another(installation: Installation) -> None:
    """Give another node, and another mesh, rows in every table that is open."""
    clock = SystemClock()
    await post_orders(installation.control, OTHER, "op-other")
    other = station(MESH, OTHER, installation.control, clock)
    await other.tick()
    async with installation.control.unit() as unit:
        await unit.meshes.record_baseline(MESH.name, baseline_of(MESH, OTHER))
        await unit.long_runs.claim(
            f"collect-node:{MESH.name}:{OTHER}", flow_run_id="f", pid=1, host="h", now=clock.now()
        )
        await unit.long_runs.claim(f"watch-mesh:{MESH.name}", flow_run_id="f", pid=1, host="h", now=clock.now())
        await unit.meshes.save(type(MESH)("another", MESH.nodes, ()))


async def test_a_node_sees_no_row_of_another_node_or_mesh(installation: Installation, as_node: asyncpg.Connection):
    await fill_in_another(installation)
    for table, column in (
        ("baselines", "node"),
        ("operations", "operation"),
        ("duties", "operation"),
        ("long_runs", "role"),
    ):
        assert await as_node.fetch(f"SELECT {column} FROM {table}") == [], table  # noqa: S608 - ours
    assert [row["name"] for row in await as_node.fetch("SELECT name FROM meshes")] == [MESH.name]


# The mesh is "test", the node n1, the other n2.
WRONGS = (
    "INSERT INTO samples (mesh, node, epoch, sequence, at, sample) VALUES ('test', 'n2', 9, 9, now(), '{}')",
    "INSERT INTO samples (mesh, node, epoch, sequence, at, sample) VALUES ('another', 'n1', 9, 9, now(), '{}')",
    "INSERT INTO baselines VALUES ('test', 'n2', 1, now(), '{}')",
    "INSERT INTO baselines VALUES ('test', 'n1', 2, now(), '{}')",
    "INSERT INTO long_runs VALUES ('watch-mesh:test', 99, 'f', 1, 'h', now())",
    "INSERT INTO long_runs VALUES ('collect-node:test:n2', 99, 'f', 1, 'h', now())",
    "DELETE FROM samples",
    "SELECT sample FROM samples",
    "UPDATE operations SET order_payload = ''",
    "UPDATE operations SET node = 'n0'",
    "UPDATE meshes SET declared = '{}'",
    "UPDATE baselines SET baseline = '{}'",
    "DELETE FROM long_runs",
    "CREATE TABLE mine (one int)",
    "SELECT * FROM pg_authid",
    "SET ROLE x0_owner",
    "SET SESSION AUTHORIZATION x0_owner",
    "ALTER ROLE x0_owner PASSWORD 'mine'",
    "ALTER TABLE samples DISABLE ROW LEVEL SECURITY",
    "COPY (SELECT 1) TO PROGRAM 'true'",
)


async def test_a_node_cannot_do_what_others_may(installation: Installation, as_node: asyncpg.Connection):
    assert (MESH.name, OWN, OTHER) == ("test", "n1", "n2")
    await fill_in_another(installation)
    done = [one for one in WRONGS if not await refused(as_node, one)]
    assert done == []


async def test_a_closed_table_can_be_neither_read_nor_written_nor_emptied(as_node: asyncpg.Connection):
    commands = ("SELECT 1 FROM {}", "INSERT INTO {} DEFAULT VALUES", "DELETE FROM {}", "TRUNCATE {}")
    tried = [command.format(table) for table in sorted(CLOSED) for command in commands]
    assert [one for one in tried if not await refused(as_node, one)] == []


async def refused(connection: asyncpg.Connection, statement: str) -> bool:
    """Tell whether the server said that this role may not; that it may and failed otherwise is not the same."""
    try:
        await connection.execute(statement)
    except asyncpg.InsufficientPrivilegeError:
        return True
    except asyncpg.PostgresError:
        return False
    return False


async def test_a_node_changes_nothing_of_others_even_where_it_may_update(
    installation: Installation, as_node: asyncpg.Connection
):
    await fill_in_another(installation)
    assert await as_node.execute("UPDATE operations SET state = 'failed'") == "UPDATE 0"
    assert await as_node.execute("UPDATE duties SET state = 'failed'") == "UPDATE 0"
    assert await as_node.execute("UPDATE long_runs SET epoch = 99") == "UPDATE 0"


async def test_an_operation_that_is_over_cannot_be_brought_back_to_hold_its_link(
    installation: Installation, as_node: asyncpg.Connection
):
    await post_orders(installation.control, OWN, "op-own")
    assert await as_node.execute("UPDATE operations SET state = 'undone'") == "UPDATE 1"
    assert await as_node.execute("UPDATE operations SET state = 'applied'") == "UPDATE 0"


async def test_a_setting_of_the_session_makes_nobody_another_node(as_node: asyncpg.Connection):
    await as_node.execute("SET search_path = pg_temp, public")
    await as_node.execute("CREATE TEMP TABLE joined_nodes (mesh text, node text, role text)")
    await as_node.execute("INSERT INTO joined_nodes VALUES ('another', 'n0', session_user)")
    assert [row["name"] for row in await as_node.fetch("SELECT name FROM meshes")] == [MESH.name]


async def test_an_expelled_node_is_out_at_once_with_its_sessions(
    installation: Installation, as_node: asyncpg.Connection
):
    await as_node.execute("SELECT pg_advisory_lock(1)")
    async with installation.control.unit() as unit:
        assert await unit.joins.expel(MESH.name, OWN)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError)):
        await as_node.fetch("SELECT 1")
    gone = PostgresStore(installation.node_url)
    with pytest.raises(ConfigurationInvalid, match="does not let us in"):
        async with gone.unit() as unit:
            await unit.meshes.load(MESH.name)
    await gone.close()


async def test_a_wrong_password_does_not_let_in(installation: Installation):
    url = make_url(installation.node_url).set(password="wrong").render_as_string(hide_password=False)  # noqa: S106 - it is
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(**listener_arguments(url))


async def test_the_owner_of_the_tables_sees_everything_as_before(installation: Installation):
    await fill_in_another(installation)
    async with installation.control.unit() as unit:
        assert {run.role for run in await unit.long_runs.all()} == {
            f"collect-node:{MESH.name}:{OTHER}",
            f"watch-mesh:{MESH.name}",
        }


async def test_what_a_node_asks_is_looked_up_by_an_index(as_node: asyncpg.Connection):
    await as_node.execute("SET enable_seqscan = off")
    asked = {
        "operations": "SELECT operation FROM operations WHERE state IN ('requested', 'applied', 'committed')",
        "duties": "SELECT operation FROM duties WHERE state = 'requested'",
        "baselines": "SELECT version FROM baselines",
        "long_runs": "SELECT epoch FROM long_runs",
        "meshes": "SELECT declared FROM meshes",
    }
    for table, question in asked.items():
        plan = "\n".join(row[0] for row in await as_node.fetch(f"EXPLAIN {question}"))
        assert "Index Cond" in plan, (table, plan)
        assert "InitPlan" in plan, (table, plan)


@pytest.mark.usefixtures("installation")  # it lets the owner in
async def test_a_server_whose_owner_may_make_no_roles_says_what_to_do(cluster: Cluster):
    await execute(cluster.prefect_url, f"CREATE ROLE {POOR} LOGIN")
    await execute(cluster.prefect_url, f"CREATE DATABASE poor OWNER {POOR}")
    try:
        with pytest.raises(BrokenError, match=f"may not create roles.*ALTER ROLE {POOR} CREATEROLE"):
            await migrate(make_url(cluster.url("poor")).set(username=POOR).render_as_string(hide_password=False))
    finally:
        await execute(cluster.prefect_url, "DROP DATABASE poor WITH (FORCE)")
        await execute(cluster.prefect_url, f"DROP ROLE {POOR}")
