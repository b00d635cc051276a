"""The outbox: told at least once, marked once, tried again with a growing pause."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from infra.outbox import LONGEST_PAUSE, deliver_due, pause_after
from models.errors import SourceUnavailable
from models.ledger import Message, MessageKind
from tests.fakes.node import FakeClock
from tests.fakes.store import FakeStore

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def message(key: str = "licence:o1", *, kind: MessageKind = MessageKind.LICENCE, to: str = "telegram:4711") -> Message:
    return Message(key, kind, to, None, {"licence": "lic-o1"}, NOW)


@dataclass
class Messenger:
    """Remembers what it told; `away` makes it fail."""

    told: list[str] = field(default_factory=list)
    away: bool = False

    async def send(self, one: Message) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise SourceUnavailable("Telegram", "flood control")
        self.told.append(one.key)


async def written(store: FakeStore, *messages: Message) -> None:
    async with store.unit() as unit:
        for one in messages:
            await unit.outbox.put(one)


async def test_what_is_due_is_told_once():
    store, clock, messenger = FakeStore(), FakeClock(NOW), Messenger()
    await written(store, message(), message("changed:o1"))
    assert await deliver_due(store, clock, messenger.send) == 2
    assert await deliver_due(store, clock, messenger.send) == 0
    assert sorted(messenger.told) == ["changed:o1", "licence:o1"]


async def test_what_is_anothers_is_left_however_much_of_it_waits_in_front():
    store, clock, messenger = FakeStore(), FakeClock(NOW), Messenger()
    await written(
        store,
        *(message(f"alert:{number}", kind=MessageKind.ALERT, to="admins") for number in range(60)),
        *(message(f"licence:a{number}", to="api:alice") for number in range(60)),
        message(),
    )
    told = await deliver_due(store, clock, messenger.send, kinds=[MessageKind.LICENCE], recipients=["telegram:"])
    assert (told, messenger.told) == (1, ["licence:o1"])


async def test_a_delivery_that_failed_is_tried_again_later_and_holds_nobody_else_up():
    store, clock, messenger = FakeStore(), FakeClock(NOW), Messenger(away=True)
    await written(store, message(), message("changed:o1"))
    assert await deliver_due(store, clock, messenger.send) == 0
    messenger.away = False
    assert await deliver_due(store, clock, messenger.send) == 0
    clock.advance(pause_after(0))
    assert await deliver_due(store, clock, messenger.send) == 2


async def test_tries_are_counted_and_the_pause_grows_up_to_five_minutes():
    store, clock, messenger = FakeStore(), FakeClock(NOW), Messenger(away=True)
    await written(store, message())
    for expected in (2, 4, 8):
        await deliver_due(store, clock, messenger.send)
        clock.advance(timedelta(seconds=expected - 1))
        async with store.unit() as unit:
            assert await unit.outbox.waiting(now=clock.now()) == []
        clock.advance(timedelta(seconds=1))
    assert pause_after(10_000) == LONGEST_PAUSE


async def test_a_messenger_that_breaks_leaves_the_message_due():
    store, clock, messenger = FakeStore(), FakeClock(NOW), Messenger()
    await written(store, message())

    async def broken(_: Message) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await deliver_due(store, clock, broken)
    assert await deliver_due(store, clock, messenger.send) == 1


async def test_of_two_deliverers_at_once_one_tells():
    store, clock, messenger = FakeStore(), FakeClock(NOW), Messenger()
    await written(store, *(message(f"licence:o{number}") for number in range(20)))
    told = await asyncio.gather(*(deliver_due(store, clock, messenger.send) for _ in range(4)))
    assert sum(told) == 20
    assert len(set(messenger.told)) == len(messenger.told) == 20
