"""Domain values survive their column."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.db.documents import closing_of, decode, encode, with_numbers
from models.errors import OrderRefused
from models.incident import Diagnosis, Incident, Symptom, SymptomKind
from models.mesh import Element, LinkId, Mesh
from models.ports import Signed
from models.remedy import Closing, GuardState, Remedy
from models.telemetry import NodeBaseline, Sample
from tests.contracts import store_examples as examples

INSTANTS = st.datetimes(timezones=st.just(UTC))
STRENGTHS = st.floats(min_value=0, allow_nan=False, allow_infinity=True)
# The three spellings of what is not finite are the one thing a text fact cannot say.
FACTS = st.dictionaries(
    st.text(), STRENGTHS | st.text().filter(lambda fact: fact not in {"Infinity", "-Infinity", "NaN"})
)


@st.composite
def symptoms(draw: st.DrawFn) -> Symptom:
    element = Element.of_link(LinkId(draw(st.text())))
    kind = draw(st.sampled_from(SymptomKind))
    return Symptom(element, kind, draw(INSTANTS), draw(INSTANTS), draw(STRENGTHS), draw(FACTS))


@given(st.lists(symptoms(), max_size=3).map(tuple))
def test_decode_inverts_encode_for_any_symptoms(some: tuple[Symptom, ...]):
    assert with_numbers(decode(tuple[Symptom, ...], encode(tuple[Symptom, ...], some))) == some


@pytest.mark.parametrize(
    "value",
    [
        examples.mesh(),
        examples.baseline(),
        examples.sample(),
        examples.diagnosis(),
        examples.remedy(),
        examples.verification(examples.remedy()),
        GuardState(paused=True, flap={"link:a": (1.5, examples.START)}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_document_comes_back_as_it_went(value: Mesh | NodeBaseline | Sample | Diagnosis | Remedy | GuardState):
    assert decode(type(value), encode(type(value), value)) == value


def test_a_symptom_without_infinite_facts_is_left_alone():
    incident: Incident = examples.incident()
    plain = (replace(incident.symptoms[0], facts={"loss": 0.5}),)
    assert with_numbers(plain)[0] is plain[0]


def test_a_whole_number_among_the_facts_is_no_reason_to_fail():
    counted = (replace(examples.incident().symptoms[0], facts={"lost_packets": 3}),)
    assert decode(tuple[Symptom, ...], encode(tuple[Symptom, ...], counted)) == counted


@pytest.mark.parametrize("closing", Closing)
def test_a_closing_order_says_which_way_it_closes(closing: Closing):
    record = examples.operation(examples.remedy())
    assert closing_of(examples.signed_closing(record, closing)) is closing


def test_what_is_no_closing_order_closes_nothing():
    record = examples.operation(examples.remedy())
    with pytest.raises(OrderRefused):
        closing_of(examples.signed_order(record))
    with pytest.raises(OrderRefused):
        closing_of(Signed(b"gibberish", b""))
