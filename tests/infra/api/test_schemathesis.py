"""Schemathesis reads our OpenAPI and asks what nobody thought of: wrong types, missing parts, other methods."""

from __future__ import annotations

from dataclasses import replace

import pytest
import schemathesis
from hypothesis import settings

from infra.api.app import create_app
from infra.api.gateway import digest_of
from infra.settings import Settings
from models.ports import Scope, Token
from tests.fakes.store import FakeStore
from tests.infra.api.world import AS_OPERATOR, MESH, NOW, OPERATE, StandingClock, tell_a_story

APP = create_app(FakeStore(), Settings(mesh="lab"), StandingClock())
schema = schemathesis.openapi.from_asgi("/openapi.json", APP)


@pytest.fixture(autouse=True)
async def seeded():
    store = FakeStore()
    async with store.unit() as unit:
        await unit.meshes.save(MESH)
        await unit.tokens.add(Token("bob", digest_of(OPERATE), Scope.OPERATE, NOW))
        await unit.long_runs.claim("watch-mesh:lab", flow_run_id="f-1", pid=7, host="h", now=NOW)
    await tell_a_story(store)
    APP.state.gateway = replace(APP.state.gateway, store=store)


@schema.parametrize()
@settings(max_examples=30, deadline=None)
def test_every_answer_conforms_to_the_document_and_no_request_breaks_the_gateway(case):
    case.call_and_validate(headers=AS_OPERATOR)
