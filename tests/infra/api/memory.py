"""A store in memory with just what the gateway touches."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

from models.errors import DecisionRefused
from models.incident import IncidentState
from models.ports import IncidentStory, LongRun
from models.remedy import ActionState, GuardState


class MemoryStore:
    def __init__(self):
        self.rows = SimpleNamespace(
            meshes={},
            samples={},
            incidents={},
            parts=[],
            remedies={},
            operations=[],
            outcomes=[],
            decisions={},
            guards={},
            requests={},
            tokens={},
            runs={},
            verifications=[],
            diagnoses=[],
        )

    def unit(self):
        return MemoryUnit(self.rows)

    async def close(self):
        pass


class MemoryUnit:
    def __init__(self, rows):
        self.rows = rows
        self.meshes = self.samples = self.incidents = self.actions = self.guards = self.decisions = None
        self.meshes = Meshes(rows)
        self.samples = Samples(rows)
        self.incidents = Incidents(rows)
        self.actions = Actions(rows)
        self.guards = Guards(rows)
        self.decisions = Decisions(rows)
        self.requests = Requests(rows)
        self.tokens = Tokens(rows)
        self.long_runs = LongRuns(rows)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        return None


class Part:
    def __init__(self, rows):
        self.rows = rows


class Meshes(Part):
    async def save(self, mesh):
        self.rows.meshes[mesh.name] = mesh

    async def load(self, name):
        return self.rows.meshes.get(name)


class Samples(Part):
    async def add(self, mesh, samples):
        for one in samples:
            self.rows.samples[one.node] = one

    async def latest(self, mesh):
        return dict(self.rows.samples)


class Incidents(Part):
    async def save(self, incident):
        self.rows.incidents[incident.id] = incident

    async def open(self, mesh):
        return [one for one in self.rows.incidents.values() if one.state is not IncidentState.CLOSED]

    async def recent(self, mesh, limit=50):
        return sorted(self.rows.incidents.values(), key=lambda one: one.opened_at, reverse=True)[:limit]

    async def record_diagnosis(self, diagnosis):
        self.rows.diagnoses.append(diagnosis)

    async def record_remedy(self, remedy):
        self.rows.remedies[remedy.plan_hash] = remedy

    async def remedy(self, plan_hash):
        return self.rows.remedies.get(plan_hash)

    async def record_verification(self, verification):
        self.rows.verifications.append(verification)

    async def record_outcome(self, outcome):
        self.rows.outcomes.append(outcome)

    async def outcome_counts(self, mesh):
        return Counter(one.kind for one in self.rows.outcomes)

    async def story(self, incident):
        found = self.rows.incidents.get(incident)
        if found is None:
            return None

        def of(rows):
            return tuple(one for one in rows if one.incident == incident)

        return IncidentStory(
            found,
            of(self.rows.diagnoses),
            of(self.rows.remedies.values()),
            of(self.rows.operations),
            of(self.rows.verifications),
            of(self.rows.decisions.values()),
            of(self.rows.outcomes),
        )


class Actions(Part):
    async def request(self, mesh, record, signed):
        self.rows.operations.append(record)

    async def report(self, mesh, node, report):

        self.rows.operations[:] = [
            replace(one, state=report.state, report=report) if one.operation == report.operation else one
            for one in self.rows.operations
        ]

    async def state_counts(self, mesh):
        return Counter(one.state for one in self.rows.operations)

    async def standing(self, mesh):
        return [one for one in self.rows.operations if one.state is ActionState.COMMITTED]


class Guards(Part):
    async def load(self, mesh):
        return self.rows.guards.get(mesh, GuardState())

    async def save(self, mesh, state):
        self.rows.guards[mesh] = state


class Decisions(Part):
    async def post(self, decision):
        if decision.plan_hash in self.rows.decisions:
            raise DecisionRefused("decided already")
        self.rows.decisions[decision.plan_hash] = decision


class Requests(Part):
    async def post(self, request):
        self.rows.requests.setdefault(request.id, request)

    async def get(self, request):
        return self.rows.requests.get(request)

    async def finish(self, request, outcome):

        self.rows.requests[request] = replace(self.rows.requests[request], outcome=outcome)


class Tokens(Part):
    async def add(self, token):
        self.rows.tokens[token.name] = token

    async def find(self, digest):
        return next((one for one in self.rows.tokens.values() if one.digest == digest), None)

    async def revoke(self, name):
        return self.rows.tokens.pop(name, None) is not None


class LongRuns(Part):
    async def claim(self, role, *, flow_run_id, pid, host, now):

        self.rows.runs[role] = LongRun(role, 1, flow_run_id, pid, host, now)

    async def all(self):
        return list(self.rows.runs.values())
