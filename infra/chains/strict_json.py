"""JSON as money needs it: exact numbers, no key twice, no NaN, an object at the top."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, Never

JsonObject = dict[str, Any]


def read_object(body: bytes) -> JsonObject:
    """Read one JSON object.

    Raises:
        ValueError: truncated, not UTF-8, NaN or infinities, a key twice, nested beyond sense, or not an object.
    """
    try:
        value = json.loads(
            body.decode(), parse_float=Decimal, parse_constant=_refuse_constant, object_pairs_hook=_refuse_repetition
        )
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 - a bad answer, not a bad argument
    return value


def _refuse_constant(name: str) -> Never:
    raise ValueError(f"{name} is no number")


def _refuse_repetition(pairs: list[tuple[str, Any]]) -> JsonObject:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands twice")
    return value
