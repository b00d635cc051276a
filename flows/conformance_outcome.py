"""What is true after the steps of a case, and how it differs from what should be."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta

from infra.lab.casefile import AsideOutcome, CallsOutcome, OrderOutcome, Outcome
from infra.lab.chains.together import Together
from infra.metrics_payments import PROVIDER_ERRORS, REMARKS, ScanMetrics
from models.ledger import Message, MessageKind, Sale, SetAside
from models.payment import Asset, Provider
from models.payment_address import Chain
from models.ports import Store

MANY = 20_000
"""More messages and transfers than any case makes."""

LATER = timedelta(days=365)
"""By then every message is due."""

_METRIC_ALERTS = {"drift": (REMARKS, "drift"), "frozen": (REMARKS, "frozen_account"),
                  "key": (PROVIDER_ERRORS, "key_refused"), "invalid": (PROVIDER_ERRORS, "invalid")}  # fmt: skip
"""Alerts that an operator's rules make of the scanner's metrics, by metric and label."""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that an outcome may speak of.

    Attributes:
        sales: Orders as the ledger has them, by the case's names.
        licensed: Names of orders that earned a licence.
        aside: What waits for a person.
        messages: What was written into the outbox.
        metrics: The scanner's counters, by metric, provider and label.
        calls: Paths that each provider was asked for.
    """

    sales: Mapping[str, Sale]
    licensed: frozenset[str]
    aside: tuple[SetAside, ...]
    messages: tuple[Message, ...]
    metrics: Mapping[tuple[str, str, str], int]
    calls: Mapping[Provider, tuple[str, ...]]

    @classmethod
    async def gather(cls, store: Store, sales: Mapping[str, Sale], chains: Together, metrics: ScanMetrics) -> Facts:
        """Read them."""
        found: dict[str, Sale] = {}
        licensed: set[str] = set()
        async with store.unit() as uow:
            for name, sale in sales.items():
                now = await uow.ledger.sale(sale.order.id)
                found[name] = now or sale
                if await uow.licences.of_order(sale.order.id) is not None:
                    licensed.add(name)
            aside = await uow.ledger.aside(limit=MANY)
            messages = await uow.outbox.waiting(now=chains.now() + LATER, limit=MANY)
        calls = {provider: tuple(faults.calls) for provider, faults in chains.stand_in.faults.items()}
        return cls(found, frozenset(licensed), tuple(aside), tuple(messages), _counted(metrics), calls)


def differences(
    outcome: Outcome,
    facts: Facts,
    *,
    units: Callable[[str, Asset], int],
    hashes: Mapping[str, tuple[Chain, bytes]],
) -> list[str]:
    """Tell what is not as expected, a sentence each.

    Args:
        outcome: What should be.
        facts: What is.
        units: Reads an amount of the case.
        hashes: The case's transactions by name.
    """
    found: list[str] = []
    for name, order in outcome.orders.items():
        if name not in facts.sales:
            found.append(f"there is no order {name}")
            continue
        found += _of_order(name, order, facts, units)
    if outcome.unmatched is not None:
        found += _of_aside(outcome.unmatched, facts, hashes)
    found += _of_remarks(outcome, facts)
    found += [f"nobody was alerted: {word}" for word in outcome.alerts if not _is_alerted(word, facts)]
    for kind, times in outcome.messages.items():
        written = _messages(facts, kind)
        if written != times:
            found.append(f"{written} messages of kind {kind} were written, not {times}")
    for provider, calls in outcome.calls.items():
        found += _of_calls(provider, calls, facts)
    amounts = [facts.sales[name].order.amount.units for name in outcome.distinct]
    if len(set(amounts)) < len(amounts):
        found.append(f"{', '.join(outcome.distinct)} are asked for the same amount")
    return found


def _of_remarks(outcome: Outcome, facts: Facts) -> list[str]:
    wanted = [(one, ruling, least) for one, rulings in outcome.remarks.items() for ruling, least in rulings.items()]
    return [
        f"{provider}'s rows were called {ruling} {facts.metrics.get((REMARKS, provider, ruling), 0)} times, not {least}"
        for provider, ruling, least in wanted
        if facts.metrics.get((REMARKS, provider, ruling), 0) < least
    ]


def _of_order(name: str, expected: OrderOutcome, facts: Facts, units: Callable[[str, Asset], int]) -> list[str]:
    order = facts.sales[name].order
    found = []
    if order.state not in expected.state:
        found.append(f"{name} is {order.state}, not {' or '.join(expected.state)}")
    if order.flags != expected.flags:
        found.append(f"{name} has the flags [{_words(order.flags)}], not [{_words(expected.flags)}]")
    if expected.credited is not None:
        due = units(expected.credited, order.amount.asset)
        if order.paid.units != due:
            found.append(f"{order.paid.units} units were credited to {name}, not {due}")
    if expected.credits is not None and len(order.credits) != expected.credits:
        found.append(f"{name} has {len(order.credits)} credits, not {expected.credits}")
    if expected.licence is not None and (name in facts.licensed) is not expected.licence:
        found.append(f"{name} has {'a' if name in facts.licensed else 'no'} licence")
    return found


def _words(flags: Collection[str]) -> str:
    return ", ".join(sorted(flags))


def _of_aside(expected: tuple[AsideOutcome, ...], facts: Facts, hashes: Mapping[str, tuple[Chain, bytes]]) -> list[str]:
    names = {tx: name for name, (_, tx) in hashes.items()}
    waiting: Counter[tuple[str, str | None]] = Counter((one.why, names.get(one.transfer.tx)) for one in facts.aside)
    wanted: Counter[tuple[str, str | None]] = Counter()
    for one in expected:
        wanted[one.why, one.tx] += one.times
    if waiting == wanted:
        return []
    return [f"for a person wait {_told(waiting)}, not {_told(wanted)}"]


def _told(counted: Mapping[tuple[str, str | None], int]) -> str:
    listed = [f"{times} x {why}{f' ({tx})' if tx else ''}" for (why, tx), times in sorted(counted.items(), key=str)]
    return ", ".join(listed) or "none"


def _is_alerted(word: str, facts: Facts) -> bool:
    if word in _METRIC_ALERTS:
        metric, label = _METRIC_ALERTS[word]
        return any(facts.metrics.get((metric, provider, label), 0) > 0 for provider in Provider)
    return any(one.kind is MessageKind.ALERT and one.facts.get("what") == word for one in facts.messages)


def _messages(facts: Facts, kind: MessageKind) -> int:
    return sum(one.kind is kind for one in facts.messages)


def _of_calls(provider: Provider, expected: CallsOutcome, facts: Facts) -> list[str]:
    calls = [one for one in facts.calls[provider] if expected.where in one]
    found = []
    if expected.most is not None and len(calls) > expected.most:
        found.append(f"{provider} was asked {len(calls)} times, more than {expected.most}")
    if expected.least is not None and len(calls) < expected.least:
        found.append(f"{provider} was asked {len(calls)} times, fewer than {expected.least}")
    if expected.never is not None:
        found += [f"{provider} was asked for {one}" for one in calls if re.search(expected.never, one)][:1]
    if expected.each is not None:
        found += [f"{provider} was asked for {one}" for one in calls if not re.search(expected.each, one)][:1]
    return found


def _counted(metrics: ScanMetrics) -> dict[tuple[str, str, str], int]:
    counted: dict[tuple[str, str, str], int] = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            if sample.name in {REMARKS, PROVIDER_ERRORS}:
                label = sample.labels.get("ruling") or sample.labels.get("kind") or ""
                counted[sample.name, sample.labels["provider"], label] = int(sample.value)
    return counted
