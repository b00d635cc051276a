"""The troubles of a provider by name, and what it tells instead of the truth, for cases that are written as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from infra.lab.casefile import FaultName, TellPart
from infra.lab.chains.faults import (
    LIMITED,
    REFUSED,
    Answer,
    Lie,
    cut_off,
    drip,
    flood,
    hang,
    page,
    redirect,
    says,
    text,
)
from models.payment import Provider

_TROUBLES: Mapping[str, Answer] = MappingProxyType(
    {
        "hang": hang(),
        "drip": drip(),
        "flood": flood(),
        "cut_off": cut_off(),
        "no_key_page": page(401, "401 Authorization Required"),
        "forbidden_page": page(403, "403 Forbidden"),
        "forbidden_code": says(403, {"code": 403, "message": "request too quickly, please retry later."}),
        "error_200": says(200, {"Error": "class org.tron.core.exception.BadItemException : item not found"}),
        "daily_quota": says(403, {"Error": "Exceed the user daily usage (100000), and the query server is suspended."}),
        "duplicate_keys": text(b'{"token_transfers": [], "data": [], "token_transfers": [], "data": []}'),
        "nan": text(b'{"token_transfers": [], "data": [], "total": NaN}'),
        "redirect": redirect("http://127.0.0.1:9/elsewhere"),
    }
)


def trouble(name: FaultName, provider: Provider) -> Answer:
    """Return what a provider in that trouble answers; a number is the status it answers with."""
    if name == "limited":
        return LIMITED[provider]
    if name == "refused_key":
        return REFUSED[provider]
    return _TROUBLES[name] if name in _TROUBLES else says(int(name), {"error": "the server has a problem"})


def telling(parts: Sequence[TellPart]) -> Lie:
    """Return a lie that changes honest answers at the places that the parts name."""

    def lie(path: str, body: dict[str, Any]) -> dict[str, Any]:
        for part in parts:
            if part.path in path:
                _change(body, part.at.split("."), part)
        return body

    return lie


def _change(body: Any, places: Sequence[str], part: TellPart) -> None:
    place, *rest = places
    if place == "*":
        for item in body if isinstance(body, list) else ():
            _change(item, rest, part)
    elif not isinstance(body, dict):
        return
    elif rest:
        _change(body.get(place), rest, part)
    elif part.drop:
        body.pop(place, None)
    elif part.reverse:
        body[place] = list(reversed(body.get(place, [])))
    elif body:  # an empty object says "unknown", and stays so
        body[place] = part.value
