from __future__ import annotations

import string
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.lab.telegram.world import shown
from infra.telegram.speech import CATALOGUES, Html, Speech
from infra.telegram.words import Command, Counted, Text
from models.ledger import Language
from models.payment import OrderState

ENGLISH, RUSSIAN = Speech(Language.ENGLISH), Speech(Language.RUSSIAN)


def facts_of(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name}


@pytest.mark.parametrize("language", list(Language))
def test_every_language_says_everything(language):
    catalogue = CATALOGUES[language]
    assert set(catalogue.texts) == set(Text)
    assert set(catalogue.counted) == set(Counted)
    assert set(catalogue.commands) == set(Command)


@pytest.mark.parametrize("what", list(Text))
def test_a_sentence_takes_the_same_facts_in_every_language(what):
    russian, english = (CATALOGUES[one].texts[what] for one in (Language.RUSSIAN, Language.ENGLISH))
    # A language may leave a fact out of a licence's message, but a fact nobody gives would raise.
    assert facts_of(russian) == facts_of(english)


@pytest.mark.parametrize("what", list(Text))
@pytest.mark.parametrize("language", list(Language))
def test_every_sentence_is_html_that_telegram_takes(what, language):
    facts = dict.fromkeys(facts_of(CATALOGUES[language].texts[what]), "x")
    assert shown(Speech(language).say(what, **facts), "HTML").strip()


def test_every_state_of_an_order_has_words():
    for state in OrderState:
        assert ENGLISH.say(Text(f"state-{state.value}"), paid="", remainder="")


@pytest.mark.parametrize(
    ("number", "days", "devices"),
    [
        (1, "1 день", "1 устройство"),
        (2, "2 дня", "2 устройства"),
        (5, "5 дней", "5 устройств"),
        (11, "11 дней", "11 устройств"),
        (12, "12 дней", "12 устройств"),
        (21, "21 день", "21 устройство"),
        (22, "22 дня", "22 устройства"),
        (111, "111 дней", "111 устройств"),
    ],
)
def test_russian_numbers_take_the_right_form(number, days, devices):
    assert RUSSIAN.days(number) == days
    assert RUSSIAN.count(number, Counted.DEVICE) == devices


@given(st.integers(min_value=0, max_value=10**6), st.sampled_from(list(Language)))
def test_every_number_has_a_form_in_every_language(number, language):
    assert str(number) in Speech(language).count(number, Counted.DEVICE)


def test_english_knows_one_and_many():
    assert (ENGLISH.days(1), ENGLISH.days(30)) == ("1 day", "30 days")
    assert (ENGLISH.count(1, Counted.DEVICE), ENGLISH.count(3, Counted.DEVICE)) == ("1 device", "3 devices")


def test_what_a_person_wrote_is_never_html():
    said = ENGLISH.say(Text.SUPPORT, contact="<b>&")
    assert "&lt;b&gt;&amp;" in said
    assert "<b>x</b>" in ENGLISH.say(Text.ORDERS, orders=Html("<b>x</b>"))


@pytest.mark.parametrize(
    ("seconds", "left"),
    [(3600, "60 minutes"), (3599, "60 minutes"), (3301, "60 minutes"), (3300, "55 minutes"), (600, "10 minutes")],
)
def test_a_countdown_goes_in_fives_while_there_is_plenty(seconds, left):
    assert ENGLISH.left(timedelta(seconds=seconds)) == left


@pytest.mark.parametrize(
    ("seconds", "left"), [(541, "10 minutes"), (540, "9 minutes"), (1, "1 minute"), (0, "0 minutes"), (-5, "0 minutes")]
)
def test_a_countdown_goes_by_minutes_near_the_end(seconds, left):
    assert ENGLISH.left(timedelta(seconds=seconds)) == left


def test_an_instant_is_told_in_utc_and_in_the_language():
    instant = datetime(2026, 3, 1, 12, 5, tzinfo=UTC)
    assert ENGLISH.at(instant) == "1 Mar 2026 12:05 UTC"
    assert RUSSIAN.at(instant) == "1 мар. 2026 12:05 UTC"


@pytest.mark.parametrize("language", list(Language))
def test_the_menu_fits_telegram(language):
    menu = Speech(language).menu()
    assert [name for name, _ in menu] == [one.value for one in Command]
    assert all(1 <= len(meaning) <= 256 for _, meaning in menu)
