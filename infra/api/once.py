"""The header Idempotency-Key: a request that is sent again, because its answer was lost, is answered again.

As the IETF draft httpapi-idempotency-key-header says: the same key with the same body is the same wish, with another
body it is 422, and while the first is being answered 409. A wish that was refused may be sent again with its key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import Header
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

from models.errors import KeyReused
from models.ledger import BuyerId
from models.wishes import KEPT, KEY_LENGTH, KeyedWish

HEADER = "Idempotency-Key"

Key = Annotated[
    str | None,
    Header(
        alias=HEADER,
        min_length=1,
        max_length=KEY_LENGTH,
        # What a header may hold beside its ends: printable ASCII.
        pattern=r"^[!-~]([ -~]*[!-~])?$",
        description=(
            "Your own name for this wish, such as a UUID. Sent again with the same body within "
            f"{KEPT.total_seconds() / 3600:.0f} h, it is answered with the same order; with another body it is refused "
            "with 422, and while the first request is being answered with 409. Each token's keys are its own."
        ),
        examples=["8e03978e-40d5-43e8-bc93-6894a57f9324"],
    ),
]


def keyed(buyer: BuyerId, key: str | None, wish: BaseModel) -> KeyedWish | None:
    """Return a body's wish under its key; None without a key. Bodies that are read alike are the same wish."""
    if key is None:
        return None
    asked = json.dumps([type(wish).__name__, wish.model_dump(mode="json")], sort_keys=True)
    return KeyedWish(buyer, key, hashlib.sha256(asked.encode()).digest())


@contextmanager
def sent_once() -> Iterator[None]:
    """Blame the header for a key that came with another wish before."""
    try:
        yield
    except KeyReused as error:
        raise RequestValidationError([{"type": "value_error", "loc": ("header", HEADER), "msg": str(error)}]) from error
