"""How a payment case speaks: of an order by its name, of amounts and moments by an order's, of texts that are read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from infra.lab.casefile import Case, PolicyPart, ReadStep, Step, duration
from models.errors import ConfigurationInvalid
from models.ledger import Plan, Sale
from models.payment import Asset, Money, parse_asset
from models.payment_address import parse_address, parse_deposit_address, parse_tx_hash
from models.payment_policy import PaymentPolicy


@dataclass(frozen=True, slots=True)
class Terms:
    """What the names of a case stand for by now.

    Attributes:
        case: Its id.
        sales: Orders as they were placed, by name.
    """

    case: str
    sales: dict[str, Sale] = field(default_factory=dict)

    def sale(self, name: str) -> Sale:
        """Return an order of the case as it was placed.

        Raises:
            ConfigurationInvalid: no step before placed it.
        """
        if name not in self.sales:
            raise ConfigurationInvalid(f"{self.case} speaks of the order {name}", "order it in a step before")
        return self.sales[name]

    def units(self, text: str, asset: Asset) -> int:
        """Return the base units of `A`, `A - 0.5` or `29.5`."""
        base, *rest = text.split(" ")
        units = self.sale(base).order.amount.units if base[0].isalpha() else _scaled(base, asset)
        if rest:
            more = _scaled(rest[1], asset)
            units += more if rest[0] == "+" else -more
        return units

    def moment(self, text: str) -> datetime:
        """Return the time of `A.expires`, `A.created - 10m` or `A.watched + 1h`."""
        base, *rest = text.split(" ")
        name, of = base.split(".")
        order = self.sale(name).order
        at = {"created": order.created_at, "expires": order.expires_at, "watched": order.watched_until}[of]
        if rest:
            by = duration(rest[1])
            return at + by if rest[0] == "+" else at - by
        return at

    def comment(self, text: str) -> str | None:
        """Return a comment with `{A}` replaced by the id of that order; None for an empty one."""
        ids = {name: sale.order.id for name, sale in self.sales.items()}
        return re.sub(r"\{(\w+)\}", lambda named: ids.get(named[1], named[0]), text) or None


def flat(steps: tuple[Step, ...]) -> list[Step]:
    """Return the steps and, after each, those that happen at once in it."""
    return [inner for step in steps for inner in (step, *flat(step.at_once or ()))]


def plan_name(price: str) -> str:
    """Return the name of the plan that an order of this price is for."""
    return "p" + price.replace(".", "-")


def policy_of(part: PolicyPart) -> PaymentPolicy:
    """Return the default policy with what a case changes of it."""
    policy = PaymentPolicy()
    plain = ("window", "late_grace", "skew", "lone_age", "tails")
    per_asset = ("two_of_two_from", "lone_up_to", "dust", "tail_step")
    given = {name: getattr(part, name) for name in plain if getattr(part, name) is not None}
    for name in per_asset:
        told: Mapping[Asset, str] = getattr(part, name)
        given[name] = {**getattr(policy, name), **{one: Money.parse(text, one).units for one, text in told.items()}}
    return replace(policy, **given)


def plans_of(case: Case) -> tuple[Plan, ...]:
    """Return a plan for each price that a case orders at."""
    prices: dict[str, dict[Asset, int]] = {}
    for step in flat(case.steps):
        if step.order is not None:
            of_plan = prices.setdefault(plan_name(step.order.price), {})
            of_plan[step.order.asset] = Money.parse(step.order.price, step.order.asset).units
    return tuple(Plan(name, days=30, devices=1, prices=of_plan) for name, of_plan in prices.items())


def read_text(step: ReadStep) -> str | int:
    """Return what our readers make of a text.

    Raises:
        PaymentInvalid: they refuse it.
    """
    if step.address is not None:
        return parse_address(step.address, step.chain).raw_text
    if step.deposit is not None:
        return parse_deposit_address(step.deposit, step.chain).raw_text
    if step.tx is not None:
        return parse_tx_hash(step.tx, step.chain).hex()
    if step.amount is not None:
        return Money.parse(step.amount, step.asset).units
    return parse_asset(step.currency or "").value


def expected_text(step: ReadStep) -> str | int | None:
    """Return what a text should be read as; an address may be given in any of its spellings."""
    if step.address is not None or step.deposit is not None:
        return parse_address(str(step.is_), step.chain).raw_text
    return step.is_


def _scaled(text: str, asset: Asset) -> int:
    return int(Decimal(text).scaleb(asset.decimals))
