"""The list of plans as a file. Read strictly, and a mistake is told with its line.

    plans:
      - name: month
        days: 30
        devices: 2
        prices: {USDT: 9.99, TON: 3.5}

Prices are read from their digits: 9.99 is never a binary fraction on its way to base units.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.errors import ConfigurationInvalid, PaymentInvalid
from models.ledger import Plan
from models.payment import Asset, Money, parse_asset

Where = tuple[int | str, ...]


class _PlanSpec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    # It is typed on a phone, and stands on a button.
    name: str = Field(pattern=r"^[a-z0-9-]{1,32}$")
    # Ten years: a licence for longer is a typing error.
    days: int = Field(ge=1, le=3650)
    # A client that is more than a small office needs a plan made for it.
    devices: int = Field(default=1, ge=1, le=100)
    prices: Annotated[dict[str, str], Field(min_length=1)]


class _ListSpec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    plans: Annotated[tuple[_PlanSpec, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [one.name for one in self.plans]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            message = f"two plans are named {twice[0]}"
            raise ValueError(message)
        return self


def read_plans(path: Path, *, least: Mapping[Asset, int]) -> tuple[Plan, ...]:
    """Read a list of plans.

    Args:
        path: A YAML file.
        least: Base units below which a payment counts as dust and would never be matched.

    Raises:
        ConfigurationInvalid: unreadable, no YAML, a key twice or unknown, a price that is not exact or cannot be paid;
            says the line.
    """
    try:
        root = yaml.compose(path.read_text("utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationInvalid(f"the plans cannot be read: {error}", "X0_PLANS names a YAML file") from error
    except yaml.YAMLError as error:
        raise ConfigurationInvalid(f"{path} is not YAML: {' '.join(str(error).split())}", "mend the line") from error
    lines: dict[Where, int] = {}
    told = _plain(root, (), lines, path)
    try:
        spec = _ListSpec.model_validate(told)
    except ValidationError as error:
        first = error.errors()[0]
        raise _mistake(path, lines, first["loc"], first["msg"]) from error
    return tuple(
        Plan(one.name, one.days, one.devices, _prices(path, lines, ("plans", place, "prices"), one.prices, least))
        for place, one in enumerate(spec.plans)
    )


def _plain(node: yaml.Node | None, where: Where, lines: dict[Where, int], path: Path) -> Any:
    """Turn a node into lists, dictionaries and text, scalars as they were typed, and note each one's line."""
    if node is None:
        return None
    lines[where] = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        return [_plain(one, (*where, place), lines, path) for place, one in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key, value in node.value:
            name = str(key.value)
            if name in found:
                raise _mistake(path, {where: key.start_mark.line + 1}, where, f"{name} stands there twice")
            found[name] = _plain(value, (*where, name), lines, path)
            lines[(*where, name)] = key.start_mark.line + 1
        return found
    return node.value


def _prices(
    path: Path, lines: Mapping[Where, int], where: Where, typed: Mapping[str, str], least: Mapping[Asset, int]
) -> Mapping[Asset, int]:
    prices: dict[Asset, int] = {}
    for currency, amount in typed.items():
        try:
            asset = parse_asset(currency)
            price = Money.parse(amount, asset)
        except PaymentInvalid as error:
            raise _mistake(path, lines, (*where, currency), str(error)) from error
        if asset is Asset.USDT_TON:
            raise _mistake(path, lines, (*where, currency), "USDT on TON is recorded for a person and never sold for")
        if asset in prices:
            raise _mistake(path, lines, (*where, currency), f"there is a price in {asset} already")
        if price.units < least[asset]:
            dust = Money(asset, least[asset])
            raise _mistake(path, lines, (*where, currency), f"less than {dust} is dust and would never be matched")
        prices[asset] = price.units
    return prices


def _mistake(path: Path, lines: Mapping[Where, int], where: Where, what: str) -> ConfigurationInvalid:
    """Make the error: the nearest line that is known, the field's place, and what is wrong with it."""
    known = where
    while known and known not in lines:
        known = known[:-1]
    named = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".") or "the file"
    return ConfigurationInvalid(f"{path} line {lines.get(known, 1)}: {named}: {what}", "mend it and start again")
