"""The door of the database: what the driver raises comes out as one of `models.errors`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from models.errors import BrokenError, ConfigurationInvalid, MeshError, RefusedError, SourceUnavailable

DATABASE = "the database"

# SQLSTATE classes and states (PostgreSQL manual, appendix A) after which the same transaction may well succeed:
# connection trouble, lost races, no room for a connection or memory, cancelled or shut down by the administrator,
# a lock not got in time, a transaction that sat idle too long.
PASSING_CLASSES = frozenset({"08", "40", "53", "57"})
PASSING_STATES = frozenset({"55P03", "25P03", "25P04"})
INTEGRITY_CLASS = "23"
UNMIGRATED = frozenset({"42P01", "42703", "42883", "3F000"})
MISDIRECTED = frozenset({"28000", "28P01", "3D000"})
FAILED_TRANSACTION = "25P02"

SENTENCES = {
    "ck_outcomes_no_dry_run": "a dry run is never stored as an outcome",
    "ck_outcomes_fixed_is_proven": "an outcome is 'fixed' only with a verification that says healed for the same plan",
    "ck_outcomes_proof_says_healed": "an outcome's proof must be a verification that says healed",
    "fk_outcomes_proof": "an outcome's proof must be a stored verification that says healed for the same plan",
    "ck_incidents_closed_has_its_instant": "an incident carries `closed_at` exactly when its state is closed",
    "ex_operations_one_writer": "another operation in flight writes to the same element",
    "uq_tokens_digest": "another token has this digest already",
}


@contextmanager
def at_the_door() -> Iterator[None]:
    """Translate everything the driver, the pool or the socket raises inside the body.

    Raises:
        SourceUnavailable: it may succeed later.
        RefusedError: a constraint of the schema said no.
        ConfigurationInvalid: the address is wrong or the schema is not there.
        BrokenError: anything else; the statement or its arguments are at fault.
    """
    try:
        yield
    except (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise _translated(error) from error


def sqlstate_of(error: BaseException) -> str | None:
    """Return the SQLSTATE behind an error that came through this door; None when no server spoke."""
    cause = error.__cause__
    state = getattr(_root(cause), "sqlstate", None) if isinstance(cause, Exception) else None
    return None if state is None else str(state)


def _translated(error: Exception) -> MeshError:
    root = _root(error)
    state = getattr(root, "sqlstate", None)
    said = str(root) or type(root).__name__
    if isinstance(error, PoolTimeout):
        return SourceUnavailable(DATABASE, "every connection of the pool stayed busy")
    if state is None:
        return _without_state(error, said)
    if state.startswith(INTEGRITY_CLASS):
        constraint = getattr(root, "constraint_name", None) or ""
        return RefusedError(SENTENCES.get(constraint, f"the schema refused the row: {said}"))
    if state[:2] in PASSING_CLASSES or state in PASSING_STATES:
        return SourceUnavailable(DATABASE, said)
    return _ours_to_mend(state, said)


def _ours_to_mend(state: str, said: str) -> BrokenError:
    if state in UNMIGRATED:
        return ConfigurationInvalid(f"the database lacks what this version needs ({said})", "run the migrations")
    if state in MISDIRECTED:
        return ConfigurationInvalid(f"the database does not let us in ({said})", "check DATABASE_URL")
    if state == FAILED_TRANSACTION:
        return BrokenError("the database refused a statement of this unit of work before; leave the unit after that")
    return BrokenError(f"the database refused a statement: {said}")


def _root(error: Exception) -> BaseException:
    """Find the driver's own error under SQLAlchemy's two wrappings."""
    orig = error.orig if isinstance(error, DBAPIError) else error
    if orig is None:
        return error
    return orig.__cause__ if isinstance(orig.__cause__, asyncpg.PostgresError) else orig


def _without_state(error: Exception, said: str) -> MeshError:
    lost = error.connection_invalidated if isinstance(error, DBAPIError) else not isinstance(error, SQLAlchemyError)
    if isinstance(_root(error), FileNotFoundError | ConnectionRefusedError):
        return SourceUnavailable(
            DATABASE, f"{said}; is `x0tta6bl4 up` running, and the one that X0_STATE or DATABASE_URL names?"
        )
    if lost or "connection is closed" in said:
        return SourceUnavailable(DATABASE, said)
    return BrokenError(f"the database cannot be used like this: {said}")
