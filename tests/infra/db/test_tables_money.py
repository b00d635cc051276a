"""What the schema itself refuses of money, whoever writes: each line here is what a person with SQL might try."""

from __future__ import annotations

import asyncpg
import pytest

from infra.db.connections import listener_arguments

pytestmark = pytest.mark.postgres

ORDER = """
    INSERT INTO orders (id, asset, deposit, units, code, created_at, payable_from, expires_at, watched_until, state,
                        flags, buyer, plan, language)
    VALUES ($1, 'USDT_TRON', $2, $3, $4, '2026-11-22 12:00Z', '2026-11-22 11:50Z', '2026-11-22 13:00Z',
            '2026-11-23 13:00Z', $5, $6, 'telegram:1', '{}', 'en')
"""
TRANSFER = """
    INSERT INTO transfers (chain, tx, event_index, asset, receiver, units, position, block_time, vouched_by, absent)
    VALUES ('tron', $1, $2, 'USDT_TRON', $3, $4, 1, $5::text::timestamptz, '{tronscan}', '{}')
"""
CREDIT = "INSERT INTO credits VALUES ('tron', $1, $2, $3, 'USDT_TRON', $4, $5)"
CREDIT_AND_STATE = """
    WITH counted AS (INSERT INTO credits VALUES ('tron', $1, 0, $2, 'USDT_TRON', $3, $4))
    UPDATE orders SET state = $5, flags = $6, paid = paid + $4 WHERE id = $2
"""
OURS, SECOND = b"A" + bytes(20), b"A" + bytes(19) + b"2"
TX = bytes(32)
DUE = 29_000_123
IN_TIME = "2026-11-22 12:05Z"
SETTLE = "UPDATE orders SET state = 'SETTLED' WHERE id = 'o1'"


@pytest.fixture
async def connection(database: str):
    connection = await asyncpg.connect(**listener_arguments(database))
    await order(connection, "o1")
    await transfer(connection, TX)
    yield connection
    await connection.close()


async def order(connection, name, *, deposit=OURS, units=DUE, code=None, state="NEW", flags=()):
    await connection.execute(ORDER, name, deposit, units, code, state, list(flags))


async def transfer(connection, tx, *, index=0, receiver=OURS, units=DUE, at=IN_TIME):
    await connection.execute(TRANSFER, tx, index, receiver, units, at)


async def settle(connection):
    await connection.execute(CREDIT_AND_STATE, TX, "o1", OURS, DUE, "SETTLED", [])


def refused(match, error=asyncpg.CheckViolationError):
    return pytest.raises(error, match=match)


async def test_settled_without_credits_fails(connection):
    with refused("settled_is_paid"):
        await connection.execute(SETTLE)


async def test_settled_with_an_invented_sum_fails(connection):
    with refused("sum of its credits"):
        await connection.execute("UPDATE orders SET state = 'SETTLED', paid = units WHERE id = 'o1'")


async def test_an_order_cannot_be_inserted_settled_or_paid(connection):
    with refused("begins as NEW"):
        await order(connection, "o2", units=1, state="SETTLED", flags=["manual"])


async def test_a_credit_beside_its_order_fails(connection):
    with refused("sum of its credits"):
        await connection.execute(CREDIT, TX, 0, "o1", OURS, DUE)


async def test_new_with_credits_fails(connection):
    with refused("new_is_unpaid"):
        await connection.execute(CREDIT_AND_STATE, TX, "o1", OURS, DUE, "NEW", [])


async def test_a_credit_and_its_state_together_pass_and_a_second_credit_of_the_transfer_fails(connection):
    await settle(connection)
    await order(connection, "o2", units=DUE + 1)
    with refused("pk_credits", asyncpg.UniqueViolationError):
        await connection.execute(CREDIT_AND_STATE, TX, "o2", OURS, DUE, "PROCESSING", ["partial"])


@pytest.mark.parametrize("state", ["NEW", "PROCESSING", "EXPIRED", "REVIEW", "HOLD", "CANCELLED"])
async def test_settled_is_left_only_to_refunded(connection, state):
    await settle(connection)
    with refused(r"does not go that way|new_is_unpaid"):
        await connection.execute("UPDATE orders SET state = $1 WHERE id = 'o1'", state)


async def test_refunded_is_left_to_nothing_and_new_is_not_refunded(connection):
    with refused("does not go that way"):
        await connection.execute("UPDATE orders SET state = 'REFUNDED' WHERE id = 'o1'")
    await settle(connection)
    await connection.execute("UPDATE orders SET state = 'REFUNDED' WHERE id = 'o1'")
    with refused("does not go that way"):
        await connection.execute(SETTLE)


async def test_held_settles_only_with_a_persons_flag(connection):
    await connection.execute("UPDATE orders SET state = 'HOLD' WHERE id = 'o1'")
    with refused("only a person"):
        await settle(connection)
    await connection.execute(CREDIT_AND_STATE, TX, "o1", OURS, DUE, "SETTLED", ["manual"])


async def test_a_settled_order_takes_no_further_credit(connection):
    await settle(connection)
    await transfer(connection, TX, index=1)
    with refused("closed order"):
        await connection.execute(
            "WITH counted AS (INSERT INTO credits VALUES ('tron', $1, 1, 'o1', 'USDT_TRON', $2, $3))"
            " UPDATE orders SET paid = paid + $3, flags = '{over}' WHERE id = 'o1'",
            TX,
            OURS,
            DUE,
        )
    with refused("sum of its credits"):
        await connection.execute(CREDIT, TX, 1, "o1", OURS, DUE)


async def test_a_credit_of_other_units_than_its_transfer_fails(connection):
    with refused("fk_credits_transfer", asyncpg.ForeignKeyViolationError):
        await connection.execute(CREDIT_AND_STATE, TX, "o1", OURS, DUE + 1, "SETTLED", ["over"])


async def test_a_credit_from_another_address_of_ours_fails(connection):
    await transfer(connection, TX, index=1, receiver=SECOND)
    with refused("fk_credits", asyncpg.ForeignKeyViolationError):
        await connection.execute(CREDIT, TX, 1, "o1", SECOND, DUE)
    with refused("fk_credits", asyncpg.ForeignKeyViolationError):
        await connection.execute(CREDIT, TX, 1, "o1", OURS, DUE)


async def test_a_credit_without_its_transfer_or_order_fails(connection):
    with refused("fk_credits", asyncpg.ForeignKeyViolationError):
        await connection.execute(CREDIT, TX, 7, "o1", OURS, DUE)
    with refused("fk_credits", asyncpg.ForeignKeyViolationError):
        await connection.execute(CREDIT, TX, 0, "nobody's", OURS, DUE)


@pytest.mark.parametrize("at", ["2026-11-22 11:49Z", "2026-11-23 13:02Z"])
async def test_a_credit_from_outside_its_orders_watch_fails(connection, at):
    tx = b"t" * 32
    await transfer(connection, tx, at=at)
    with refused("outside its watch"):
        await connection.execute(CREDIT_AND_STATE, tx, "o1", OURS, DUE, "SETTLED", [])


@pytest.mark.parametrize(
    "change",
    ["units = 1", "deposit = decode(repeat('41', 21), 'hex')", "watched_until = watched_until + interval '1 day'",
     "payable_from = payable_from - interval '1 day'", "buyer = 'telegram:2'", "plan = '{\"days\": 1}'", "id = 'o9'"],
)  # fmt: skip
async def test_the_terms_of_an_order_are_frozen(connection, change):
    with refused("frozen"):
        await connection.execute(f"UPDATE orders SET {change} WHERE id = 'o1'")  # noqa: S608 - written above


async def test_a_flag_cannot_be_taken_back(connection):
    await connection.execute("UPDATE orders SET flags = '{late}' WHERE id = 'o1'")
    with refused("a flag stays"):
        await connection.execute("UPDATE orders SET flags = '{}' WHERE id = 'o1'")


@pytest.mark.parametrize("flags", [["partial"], ["over"], ["manual"], ["odd"], [None]])
async def test_flags_that_are_not_so_fail(connection, flags):
    with refused("partial_is_partial|over_is_over|manual_is_settled|known_flags"):
        await connection.execute("UPDATE orders SET flags = $1 WHERE id = 'o1'", flags)


async def test_a_second_order_of_a_reserved_amount_or_code_fails(connection):
    with refused("one_amount", asyncpg.ExclusionViolationError):
        await order(connection, "o2")
    await order(connection, "o3", units=1, code="ord-7k2m9qab")
    with refused("uq_orders_code", asyncpg.UniqueViolationError):
        await order(connection, "o4", units=2, code="ord-7k2m9qab")


@pytest.mark.parametrize(
    ("column", "value"),
    [("units", "0"), ("units", "-5"), ("state", "'PAID'"), ("asset", "'USDT'"), ("asset", "'TON'"),
     ("payable_from", "created_at - interval '9 minutes'"), ("language", "'de'"),
     ("expires_at", "created_at - interval '1 s'")],
)  # fmt: skip
async def test_an_order_that_cannot_be_fails(connection, column, value):
    found = await connection.fetch(
        "SELECT column_name::text AS name FROM information_schema.columns WHERE table_name = 'orders'"
    )
    columns = [row["name"] for row in found]
    changed = {"id": "'o2'", "units": "units + 1", column: value}
    chosen = ", ".join(changed.get(one, one) for one in columns)
    statement = f"INSERT INTO orders ({', '.join(columns)}) SELECT {chosen} FROM orders"  # noqa: S608 - written above
    with refused("ck_orders|begins as NEW"):
        await connection.execute(statement)


@pytest.mark.parametrize(
    "facts",
    [{"units": 0}, {"index": -1}, {"tx": bytes(31)}],
)
async def test_a_transfer_that_cannot_be_fails(connection, facts):
    with refused("ck_transfers"):
        await transfer(connection, **{"tx": b"t" * 32, **facts})


async def test_a_transfer_nobody_vouches_for_or_of_another_chain_fails(connection):
    with refused("ck_transfers_vouched"):
        await connection.execute(TRANSFER.replace("'{tronscan}'", "'{}'"), b"t" * 32, 0, OURS, 5, IN_TIME)
    with refused("ck_transfers_asset_of_chain"):
        await connection.execute(TRANSFER.replace("'USDT_TRON'", "'TON'"), b"t" * 32, 0, OURS, 5, IN_TIME)


@pytest.mark.parametrize("table", ["transfers", "credits", "audit"])
async def test_what_happened_is_never_changed(connection, table):
    await settle(connection)
    await connection.execute("INSERT INTO audit (at, actor, what, detail) VALUES (now(), 'cli:root', 'hold', 'odd')")
    column = {"transfers": "memo = 'mine'", "credits": "order_id = 'o2'", "audit": "actor = 'nobody'"}[table]
    with refused("never changed"):
        await connection.execute(f"UPDATE {table} SET {column}")  # noqa: S608 - a list above


@pytest.mark.parametrize(
    "table",
    ["transfers", "credits", "audit", "orders", "outbox", "licences", "admissions", "sightings", "set_asides"],
)
async def test_nothing_is_deleted(connection, table):
    with refused("never deleted"):
        await connection.execute(f"DELETE FROM {table}")  # noqa: S608 - a list above
    with refused("never deleted"):
        await connection.execute(f"TRUNCATE {table} CASCADE")


async def test_a_mark_cannot_be_moved_back(connection):
    await connection.execute("INSERT INTO reaches VALUES ('tronscan', $1, now(), NULL, NULL, '')", OURS)
    await connection.execute("UPDATE reaches SET until = until + interval '1 minute'")
    with refused("forward"):
        await connection.execute("UPDATE reaches SET until = until - interval '1 second'")


async def test_a_licence_of_an_unsettled_order_fails_and_a_second_one_too(connection):
    issue = "INSERT INTO licences VALUES ($1, 'o1', 'month', 2, now(), now() + interval '30 days', NULL)"
    with refused("only a settled order"):
        await connection.execute(issue, "lic-o1")
    await settle(connection)
    await connection.execute(issue, "lic-o1")
    with refused("uq_licences_order_id", asyncpg.UniqueViolationError):
        await connection.execute(issue, "lic-again")
    with refused("as it was signed"):
        await connection.execute("UPDATE licences SET expires_at = expires_at + interval '1 year'")
    await connection.execute("UPDATE licences SET revoked_at = now()")
    with refused("as it was signed"):
        await connection.execute("UPDATE licences SET revoked_at = NULL")
    with refused("licence that stands"):
        await connection.execute(
            "INSERT INTO admissions (licence, mesh, node, address, until) VALUES ('lic-o1', 'lab', 'n0', 'a', now())"
        )


async def test_what_was_told_is_not_told_otherwise(connection):
    await connection.execute(
        "INSERT INTO outbox (key, kind, recipient, facts, written_at, next_at, delivered_at)"
        " VALUES ('k', 'alert', 'admins', '{}', now(), now(), now())"
    )
    for change in ("facts = '{\"a\": 1}'", "recipient = 'telegram:1'", "delivered_at = NULL"):
        with refused("stays as it was written"):
            await connection.execute(f"UPDATE outbox SET {change}")  # noqa: S608 - written above
