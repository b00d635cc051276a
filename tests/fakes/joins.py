"""Joining over a fake store's memory; it makes no roles."""

from __future__ import annotations

from dataclasses import replace

from models.joining import JoinedNode, JoinRefused, JoinToken
from tests.fakes.ledger import Desk
from tests.fakes.memory import Memory


class FakeJoins:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def add_token(self, token: JoinToken) -> None:
        self._desk.write(lambda memory: memory.join_tokens.setdefault(token.digest, token))

    async def token(self, digest: str) -> JoinToken | None:
        await self._desk.lock(f"join token {digest}")
        found: JoinToken | None = self._desk.seen.join_tokens.get(digest)
        return found

    async def use_token(self, digest: str, *, by: str) -> None:
        def use(memory: Memory) -> None:
            memory.join_tokens[digest] = replace(memory.join_tokens[digest], used_by=by)

        self._desk.write(use)

    async def admit(self, node: JoinedNode, *, password: str) -> None:
        if await self.get(node.mesh, node.node) is not None:
            raise JoinRefused(f"{node.node} has joined {node.mesh} already")
        self._desk.write(lambda memory: memory.joined.setdefault((node.mesh, node.node), node))

    async def expel(self, mesh: str, node: str) -> bool:
        return self._desk.write(lambda memory: memory.joined.pop((mesh, node), None)) is not None

    async def get(self, mesh: str, node: str) -> JoinedNode | None:
        found: JoinedNode | None = self._desk.seen.joined.get((mesh, node))
        return found

    async def of_pass(self, digest: str) -> JoinedNode | None:
        return next((one for one in self._desk.seen.joined.values() if one.pass_digest == digest), None)

    async def of_mesh(self, mesh: str) -> list[JoinedNode]:
        return sorted((one for one in self._desk.seen.joined.values() if one.mesh == mesh), key=lambda one: one.node)
