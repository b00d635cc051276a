"""The laws of money that a row alone cannot tell, as triggers: what may not change, and what other tables must say.

Part of revision 0002; a later change of these is a revision of its own.
"""

from __future__ import annotations

from alembic import op

# Refuses with the words and the name of the trigger, as a constraint would; a trigger's WHEN says what is refused.
REFUSE = """
CREATE FUNCTION ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME, MESSAGE = TG_ARGV[0];
END $$
"""
# After each statement that touched an order or added a credit: `paid` is the sum of the credits. With the constraints
# on `paid`, no order is settled without money, no closed order takes more, and none with money in it is new.
PAID_IS_THE_SUM = """
CREATE FUNCTION ledger_paid_is_the_sum() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wrong text;
BEGIN
    IF TG_TABLE_NAME = 'orders' THEN
        SELECT one.id INTO wrong FROM changed AS one
        WHERE one.paid <> (SELECT coalesce(sum(units), 0) FROM credits WHERE order_id = one.id) LIMIT 1;
    ELSE
        SELECT one.id INTO wrong FROM orders AS one
        WHERE one.id IN (SELECT order_id FROM changed)
            AND one.paid <> (SELECT coalesce(sum(units), 0) FROM credits WHERE order_id = one.id) LIMIT 1;
    END IF;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME,
            MESSAGE = format('what order %s has been paid is the sum of its credits', wrong);
    END IF;
    RETURN NULL;
END $$
"""
# A minute past the watch is allowed: two providers' times of one block may differ by so much, and the first is kept.
CREDITED_IN_WATCH = """
CREATE FUNCTION ledger_credited_in_watch() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wrong text;
BEGIN
    SELECT one.order_id INTO wrong FROM changed AS one
    JOIN transfers USING (chain, tx, event_index)
    JOIN orders ON orders.id = one.order_id
    WHERE NOT block_time BETWEEN payable_from AND watched_until + interval '1 minute' LIMIT 1;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME,
            MESSAGE = format('a credit of order %s lies outside its watch', wrong);
    END IF;
    RETURN NULL;
END $$
"""
# FOR SHARE: a refund that is under way is waited for.
EARNED = """
CREATE FUNCTION ledger_earned() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM orders WHERE id = NEW.order_id AND state = 'SETTLED' FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME,
            MESSAGE = 'only a settled order earns a licence';
    END IF;
    RETURN NEW;
END $$
"""
COVERED = """
CREATE FUNCTION ledger_covered() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM licences WHERE id = NEW.licence AND revoked_at IS NULL AND expires_at >= NEW.until FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME,
            MESSAGE = 'an address is admitted by a licence that stands and only while it lasts';
    END IF;
    RETURN NEW;
END $$
"""

# name: (table, event, condition, what is said). Of rows that exist, what may not change and where they may not go.
LAWS = {
    "orders_begin_new": (
        "orders",
        "INSERT",
        "NEW.state <> 'NEW' OR NEW.flags <> '{}' OR NEW.paid <> 0",
        "an order begins as NEW, unpaid and without flags",
    ),
    "orders_terms_stay": (
        "orders",
        "UPDATE",
        (
            "(OLD.id, OLD.asset, OLD.deposit, OLD.units, OLD.code, OLD.created_at, OLD.payable_from, OLD.expires_at,"
            " OLD.watched_until, OLD.buyer, OLD.plan) IS DISTINCT FROM (NEW.id, NEW.asset, NEW.deposit, NEW.units,"
            " NEW.code, NEW.created_at, NEW.payable_from, NEW.expires_at, NEW.watched_until, NEW.buyer, NEW.plan)"
        ),
        "what an order costs, and until when, is frozen when it is made",
    ),
    "orders_closed_stay": (
        "orders",
        "UPDATE",
        (
            "OLD.state IN ('SETTLED', 'CANCELLED', 'REFUNDED') AND (OLD.flags, OLD.paid) IS DISTINCT FROM"
            " (NEW.flags, NEW.paid)"
        ),
        "what a closed order was paid, and how, stays",
    ),
    "orders_go_their_way": (
        "orders",
        "UPDATE",
        (
            "OLD.state <> NEW.state AND NOT CASE OLD.state"
            " WHEN 'SETTLED' THEN NEW.state = 'REFUNDED'"
            " WHEN 'CANCELLED' THEN false"
            " WHEN 'REFUNDED' THEN false"
            " WHEN 'HOLD' THEN NEW.state IN ('SETTLED', 'CANCELLED', 'REFUNDED')"
            " WHEN 'REVIEW' THEN NEW.state IN ('SETTLED', 'CANCELLED', 'REFUNDED', 'HOLD')"
            " WHEN 'NEW' THEN NEW.state <> 'REFUNDED'"
            " ELSE NEW.state <> 'CANCELLED' END"
        ),
        "an order does not go that way: settled is left only to refunded, held only by a person",
    ),
    "orders_held_settle_by_hand": (
        "orders",
        "UPDATE",
        "OLD.state IN ('HOLD', 'REVIEW') AND NEW.state = 'SETTLED' AND 'manual' <> ALL (NEW.flags)",
        "only a person settles what was held",
    ),
    "orders_keep_flags": (
        "orders",
        "UPDATE",
        "NOT array_remove(OLD.flags, 'partial') <@ NEW.flags",
        "a flag stays, but for partial",
    ),
    "reaches_move_on": (
        "reaches",
        "UPDATE",
        "NEW.until < OLD.until OR (OLD.provider, OLD.address) IS DISTINCT FROM (NEW.provider, NEW.address)",
        "a mark only moves forward",
    ),
    "outbox_stays": (
        "outbox",
        "UPDATE",
        (
            "(OLD.key, OLD.kind, OLD.recipient, OLD.order_id, OLD.facts, OLD.written_at) IS DISTINCT FROM"
            " (NEW.key, NEW.kind, NEW.recipient, NEW.order_id, NEW.facts, NEW.written_at)"
            " OR (OLD.delivered_at IS NOT NULL AND OLD.delivered_at IS DISTINCT FROM NEW.delivered_at)"
        ),
        "what is told stays as it was written, and told",
    ),
    "licences_stay": (
        "licences",
        "UPDATE",
        (
            "(OLD.id, OLD.order_id, OLD.plan, OLD.devices, OLD.issued_at, OLD.expires_at) IS DISTINCT FROM"
            " (NEW.id, NEW.order_id, NEW.plan, NEW.devices, NEW.issued_at, NEW.expires_at)"
            " OR (OLD.revoked_at IS NOT NULL AND OLD.revoked_at IS DISTINCT FROM NEW.revoked_at)"
        ),
        "a licence is as it was signed, and revoked for ever",
    ),
}
UNCHANGING = ("transfers", "credits", "audit")
UNDELETED = (*UNCHANGING, "orders", "outbox", "licences", "admissions", "sightings", "set_asides")
AFTERWARDS = """
CREATE TRIGGER {name} AFTER {event} ON {table} REFERENCING NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION {function}()
"""


def make_laws() -> None:
    """Make the functions and the triggers."""
    for function in (REFUSE, PAID_IS_THE_SUM, CREDITED_IN_WATCH, EARNED, COVERED):
        op.execute(function)
    for name, (table, event, condition, said) in LAWS.items():
        op.execute(
            f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW WHEN ({condition})"
            f" EXECUTE FUNCTION ledger_refuse('{said}')"
        )
    for table in UNCHANGING:
        _refuse(table, "UPDATE", f"a row of {table} is never changed")
    for table in UNDELETED:
        _refuse(table, "DELETE", f"a row of {table} is never deleted")
        _refuse(table, "TRUNCATE", f"a row of {table} is never deleted")
    for name, event, table, function in (
        ("orders_paid_is_the_sum", "UPDATE", "orders", "ledger_paid_is_the_sum"),
        ("credits_are_what_is_paid", "INSERT", "credits", "ledger_paid_is_the_sum"),
        ("credits_in_watch", "INSERT", "credits", "ledger_credited_in_watch"),
    ):
        op.execute(AFTERWARDS.format(name=name, event=event, table=table, function=function))
    op.execute(
        "CREATE TRIGGER licences_are_earned BEFORE INSERT ON licences FOR EACH ROW EXECUTE FUNCTION ledger_earned()"
    )
    op.execute(
        "CREATE TRIGGER admissions_are_covered BEFORE INSERT OR UPDATE ON admissions"
        " FOR EACH ROW WHEN (NEW.closed_at IS NULL) EXECUTE FUNCTION ledger_covered()"
    )


def _refuse(table: str, event: str, said: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_no_{event.lower()} BEFORE {event} ON {table} FOR EACH STATEMENT"
        f" EXECUTE FUNCTION ledger_refuse('{said}')"
    )
