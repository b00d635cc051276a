"""What every `ChatRepository` promises. Subclass once per implementation and supply `store`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from models.chat import Button, ButtonKind, Card
from models.ledger import Language
from models.payment import OrderId
from models.ports import Store

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ANNA, BORIS = 4711, 6_000_000_001  # Telegram's ids no longer fit 32 bits


def button(name: str = "b-1", *, user: int = ANNA, expires_at: datetime = NOW + MINUTE) -> Button:
    return Button(name, ButtonKind.BUY, "month:TON", user, expires_at)


def card(order: str = "o-1", *, message: int = 7, shown: str = "a", look_at: datetime | None = NOW) -> Card:
    return Card(OrderId(order), ANNA, message, shown, look_at)


class ChatContract:
    """Buttons, languages and cards."""

    async def test_a_language_is_remembered_for_each_person_and_the_last_choice_wins(self, store: Store):
        async with store.unit() as unit:
            await unit.chats.speak(ANNA, Language.ENGLISH)
            await unit.chats.speak(ANNA, Language.RUSSIAN)
        async with store.unit() as unit:
            assert await unit.chats.language(ANNA) is Language.RUSSIAN
            assert await unit.chats.language(BORIS) is None

    async def test_a_button_works_once(self, store: Store):
        async with store.unit() as unit:
            await unit.chats.offer([button()])
        async with store.unit() as unit:
            assert await unit.chats.press("b-1", user=ANNA, now=NOW) == button()
        async with store.unit() as unit:
            assert await unit.chats.press("b-1", user=ANNA, now=NOW) is None

    async def test_another_persons_press_does_nothing_and_does_not_use_the_button_up(self, store: Store):
        async with store.unit() as unit:
            await unit.chats.offer([button(user=BORIS)])
        async with store.unit() as unit:
            assert await unit.chats.press("b-1", user=ANNA, now=NOW) is None
            assert await unit.chats.press("b-1", user=BORIS, now=NOW) == button(user=BORIS)

    async def test_an_expired_or_unknown_button_does_nothing(self, store: Store):
        async with store.unit() as unit:
            await unit.chats.offer([button(expires_at=NOW)])
        async with store.unit() as unit:
            assert await unit.chats.press("b-1", user=ANNA, now=NOW) is None
            assert await unit.chats.press("b-2", user=ANNA, now=NOW) is None

    async def test_a_press_that_is_rolled_back_leaves_the_button_usable(self, store: Store):
        async with store.unit() as unit:
            await unit.chats.offer([button()])
        try:
            async with store.unit() as unit:
                await unit.chats.press("b-1", user=ANNA, now=NOW)
                raise RuntimeError  # noqa: TRY301 - it must leave the unit by the exceptional door
        except RuntimeError:
            pass
        async with store.unit() as unit:
            assert await unit.chats.press("b-1", user=ANNA, now=NOW) is not None

    async def test_of_many_presses_at_once_one_gets_it(self, store: Store):
        async with store.unit() as unit:
            await unit.chats.offer([button()])

        async def press() -> Button | None:
            async with store.unit() as unit:
                return await unit.chats.press("b-1", user=ANNA, now=NOW)

        got = await asyncio.gather(*(press() for _ in range(8)))
        assert [one for one in got if one is not None] == [button()]

    async def test_buttons_long_expired_are_forgotten_and_others_stay(self, store: Store):
        async with store.unit() as unit:
            await unit.chats.offer([button("old", expires_at=NOW - MINUTE), button("young")])
        async with store.unit() as unit:
            assert await unit.chats.forget_buttons(before=NOW) == 1
            assert await unit.chats.press("young", user=ANNA, now=NOW) is not None

    async def test_offering_no_buttons_is_allowed(self, store: Store):
        async with store.unit() as unit:
            await unit.chats.offer([])

    async def test_an_order_has_one_card_the_newest(self, store: Store):
        async with store.unit() as unit:
            await unit.chats.pin(card(message=7))
            await unit.chats.pin(card(message=8, shown="b", look_at=None))
        async with store.unit() as unit:
            assert await unit.chats.card(OrderId("o-1")) == card(message=8, shown="b", look_at=None)
            assert await unit.chats.card(OrderId("o-2")) is None

    async def test_cards_are_due_once_their_time_has_come_longest_due_first(self, store: Store):
        async with store.unit() as unit:
            for order, look_at in (("o-1", NOW), ("o-2", NOW - MINUTE), ("o-3", NOW + MINUTE), ("o-4", None)):
                await unit.chats.pin(card(order, look_at=look_at))
        async with store.unit() as unit:
            assert [one.order for one in await unit.chats.due_cards(now=NOW)] == ["o-2", "o-1"]
            assert [one.order for one in await unit.chats.due_cards(now=NOW, limit=1)] == ["o-2"]
