"""What a command has at hand: the store, who types, and a place to write."""

from __future__ import annotations

import getpass
import json
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from models.ports import Store

# A mesh may be called ship, and `watch-mesh:ship:n1` is no picture of one.
out = Console(soft_wrap=True, emoji=False)


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
    from infra.log import configure  # noqa: PLC0415 - as above
    from infra.settings import Settings  # noqa: PLC0415 - as above

    configure(least=logging.WARNING)  # the command itself says what it did
    made = PostgresStore(database_url(Settings()))
    try:
        yield made
    finally:
        await made.close()


def writable(path: Path) -> Path:
    """Return the path, once a file was seen to open there for writing; what it held stays.

    Raises:
        ConfigurationInvalid: none does. Told before the work is done, not after.
    """
    from models.errors import ConfigurationInvalid  # noqa: PLC0415 - `--help` needs none of it

    is_new = not path.exists()
    try:
        path.open("ab").close()
    except OSError as error:
        raise ConfigurationInvalid(
            f"{path} cannot be written ({error.strerror})", "name a file in a folder that is there and yours"
        ) from error
    if is_new:
        path.unlink()
    return path


def write_json(value: Any) -> None:
    """Write one JSON document to standard output, nothing else beside it."""
    from pydantic_core import to_jsonable_python  # noqa: PLC0415 - `--help` needs no pydantic

    sys.stdout.write(json.dumps(to_jsonable_python(value, inf_nan_mode="strings"), indent=1) + "\n")
