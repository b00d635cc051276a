"""A language the bot speaks: its sentences with facts in them, numbers with their nouns, spans and instants."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from babel import Locale
from babel.dates import format_datetime
from babel.units import format_unit

from infra.telegram import english, russian
from infra.telegram.words import Command, Counted, Text
from models.ledger import Language

# A message is edited when its text changes: far from the end nobody needs every minute, near it everybody does.
COARSE_MINUTES = 5
FINE_FROM = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """One language's sentences."""

    locale: Locale
    texts: Mapping[Text, str]
    counted: Mapping[Counted, Mapping[str, str]]
    commands: Mapping[Command, str]


CATALOGUES: Mapping[Language, Catalogue] = {
    Language.ENGLISH: Catalogue(Locale("en"), english.TEXTS, english.COUNTED, english.COMMANDS),
    Language.RUSSIAN: Catalogue(Locale("ru"), russian.TEXTS, russian.COUNTED, russian.COMMANDS),
}


class Html(str):
    """Text that is HTML already and is not escaped again."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Speech:
    """Speaks one language."""

    language: Language

    @property
    def _catalogue(self) -> Catalogue:
        return CATALOGUES[self.language]

    def say(self, what: Text, **facts: object) -> Html:
        """Return a sentence as Telegram's HTML; facts are escaped unless they are `Html`."""
        safe = {name: fact if isinstance(fact, Html) else html.escape(str(fact)) for name, fact in facts.items()}
        return Html(self._catalogue.texts[what].format(**safe))

    def label(self, what: Text) -> str:
        """Return a button's label, which is no HTML."""
        return self._catalogue.texts[what]

    def count(self, number: int, noun: Counted) -> str:
        """Return a number with its noun in the right form."""
        form = self._catalogue.locale.plural_form(number)
        return self._catalogue.counted[noun][form].format(n=number)

    def days(self, number: int) -> str:
        """Return `1 day`, `2 дня`, `5 дней`."""
        return format_unit(number, "duration-day", length="long", locale=self._catalogue.locale)

    def minutes(self, number: int) -> str:
        """Return `1 minute`, `2 минуты`."""
        return format_unit(number, "duration-minute", length="long", locale=self._catalogue.locale)

    def left(self, span: timedelta) -> str:
        """Return how long is left in whole minutes, rounded up; in fives while there is plenty."""
        step = COARSE_MINUTES if span > FINE_FROM else 1
        return self.minutes(max(0, math.ceil(span / timedelta(minutes=step)) * step))

    def at(self, instant: datetime) -> str:
        """Return an instant in UTC, since a bot does not know where somebody lives."""
        return f"{format_datetime(instant, 'd MMM y HH:mm', locale=self._catalogue.locale)} UTC"

    def commands(self) -> Html:
        """Return the list of commands, one a line."""
        lines = (f"/{command.value} — {html.escape(meaning)}" for command, meaning in self._catalogue.commands.items())
        return Html("\n".join(lines))

    def menu(self) -> list[tuple[str, str]]:
        """Return (command, meaning) pairs for Telegram's menu."""
        return [(command.value, meaning) for command, meaning in self._catalogue.commands.items()]
