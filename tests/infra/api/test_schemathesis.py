"""Schemathesis reads our OpenAPI and asks what nobody thought of: wrong types, missing parts, other methods."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from infra.api.app import create_app
from infra.api.gateway import digest_of
from infra.settings import Settings
from models.ledger import BuyerId, Reach
from models.payment import Provider
from models.payment_ports import Watermark
from models.ports import Scope, Token
from tests.fakes.chains.examples import OURS
from tests.fakes.store import FakeStore
from tests.infra.api.world import AS_OPERATOR, MESH, NOW, OPERATE, StandingClock, over, tell_a_story
from tests.infra.shop.counter import a_sale

APP = create_app(FakeStore(), Settings(mesh="lab"), StandingClock())
schema = schemathesis.openapi.from_asgi("/openapi.json", APP)


@schema.hook
def map_body(_, body):
    """Write 5.0 as 5: JSON Schema calls it an integer, and we do not take it for an amount of money, as 1e3 is none."""
    if isinstance(body, dict):
        return {name: int(one) if isinstance(one, float) and one.is_integer() else one for name, one in body.items()}
    return body


@pytest.fixture(autouse=True)
async def seeded():
    store = FakeStore()
    async with store.unit() as unit:
        await unit.meshes.save(MESH)
        await unit.tokens.add(Token("bob", digest_of(OPERATE), Scope.OPERATE, NOW))
        await unit.long_runs.claim("watch-mesh:lab", flow_run_id="f-1", pid=7, host="h", now=NOW)
        await unit.ledger.open_order(a_sale(5, buyer=BuyerId("api:bob"), at=NOW))
        await unit.ledger.save_reach(Reach(Watermark(Provider.TRONSCAN, OURS, NOW), NOW))
    await tell_a_story(store)
    APP.state.gateway = over(store)


@schema.parametrize()
@settings(max_examples=30, deadline=None, derandomize=True)  # what it finds, it finds in the commit that made it
def test_every_answer_conforms_to_the_document_and_no_request_breaks_the_gateway(case):
    # A schema cannot say that the parts of a snapshot must fit each other; one that does not fit is refused with 422.
    # Nor that a key must not have come with another body.
    is_beyond = case.operation.path == "/api/v1/causal/analyze" or "Idempotency-Key" in (case.headers or {})
    excluded = [positive_data_acceptance] if is_beyond else None
    case.call_and_validate(headers=AS_OPERATOR, excluded_checks=excluded)
