"""Which model serves: the shipped one, the promoted one, or none because its weights are damaged."""

from __future__ import annotations

from dataclasses import replace

from infra.shipped import DIGEST, shipped_weights
from models.modelstore import ModelRecord
from tests.infra.api.world import NOW

URL = "/api/v1/model"
RECORD = ModelRecord(DIGEST, shipped_weights()[0], {}, {}, "data", NOW, "better than what served")


async def promoted(store, record: ModelRecord) -> None:
    async with store.unit() as unit:
        await unit.models.add(record)
        await unit.models.promote(record.digest, NOW)


async def test_the_shipped_model_serves_until_another_was_promoted(reader, store):
    told = (await reader.get(URL)).json()
    assert (told["is_loaded"], told["source"], told["digest"], told["promoted_at"]) == (True, "shipped", DIGEST, None)
    await promoted(store, RECORD)
    told = (await reader.get(URL)).json()
    assert (told["source"], told["verdict"]) == ("promoted", "better than what served")


async def test_weights_that_are_not_what_was_promoted_are_an_error_with_a_sentence(reader, store):
    await promoted(store, replace(RECORD, weights=RECORD.weights[:-1]))
    answer = await reader.get(URL)
    assert answer.status_code == 500
    assert DIGEST[:12] in answer.json()["detail"]
