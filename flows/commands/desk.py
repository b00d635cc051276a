"""What a command has at hand: settings, the store, the clock, who types, and a place to write."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from models.ports import Store

out = Console(soft_wrap=True)


def caller() -> str:
    """Name who types, for the record: `cli:root`."""
    return f"cli:{getpass.getuser()}"


@asynccontextmanager
async def opened(store: Store | None = None) -> AsyncIterator[Store]:
    """Give the store of this machine's installation; one that was given stays open."""
    if store is not None:
        yield store
        return
    from infra.db.cluster import database_url  # noqa: PLC0415 - the driver costs a third of a second
    from infra.db.unit import PostgresStore  # noqa: PLC0415 - as above
    from infra.settings import Settings  # noqa: PLC0415 - as above

    made = PostgresStore(database_url(Settings()))
    try:
        yield made
    finally:
        await made.close()


def write_json(value: Any) -> None:
    """Write one JSON document to standard output, nothing else beside it."""
    from pydantic_core import to_jsonable_python  # noqa: PLC0415 - `--help` needs no pydantic

    sys.stdout.write(json.dumps(to_jsonable_python(value, inf_nan_mode="strings"), indent=1) + "\n")
