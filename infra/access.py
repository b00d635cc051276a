"""From money to a door that opens: earning a licence, using it, taking it back. All state is the ledger's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from infra.licences import LicenceSigner, LicenceVerifier
from models.errors import ConfigurationInvalid, LicenceRefused, RefusedError
from models.gate import let_through
from models.ledger import Admission, AuditEntry, IssuedLicence, Sale
from models.licence import admit, announcement, canonical_address, earned_by, require_usable
from models.mesh import NodeId
from models.ports import Clock, Store, UnitOfWork

log = structlog.get_logger()


async def earn(uow: UnitOfWork, sale: Sale, *, now: datetime) -> IssuedLicence:
    """Issue a settled sale's licence and put its delivery into the outbox; asked twice, it happens once.

    Belongs into the transaction that settles: either the order is settled and its licence is on the way, or neither.

    Raises:
        RefusedError: the order is not settled; the schema's word.
    """
    return (await earn_many(uow, [sale], now=now))[0]


async def earn_many(uow: UnitOfWork, sales: Sequence[Sale], *, now: datetime) -> list[IssuedLicence]:
    """As `earn`, for many sales in a handful of statements; returned in the order asked.

    Raises:
        RefusedError: one is not settled; the schema's word.
    """
    licences = await uow.licences.issue_many([earned_by(one, now=now) for one in sales])
    await uow.outbox.put_many([announcement(one, its, now=now) for one, its in zip(sales, licences, strict=True)])
    return licences


@dataclass(frozen=True, slots=True)
class LicenceStatus:
    """A licence and whom it lets in.

    Attributes:
        licence: As the ledger keeps it.
        admissions: Those that stand.
        passing: Their addresses of which the gateway node reported that it lets them through.
    """

    licence: IssuedLicence
    admissions: tuple[Admission, ...] = ()
    passing: frozenset[str] = frozenset()


class Access:
    """What the API, the bot and the command line do with licences."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        licences: LicenceSigner | LicenceVerifier,
        mesh: str,
        gateway_node: str | None,
    ) -> None:
        """Prepare.

        Args:
            store: The ledger.
            clock: Now.
            licences: The key, or its public half where no text has to be written.
            mesh: Whose gateway.
            gateway_node: The node that admits clients; None: licences are sold and opened by nobody here.
        """
        self._store = store
        self._clock = clock
        self._signer = licences if isinstance(licences, LicenceSigner) else None
        self._verifier = licences.verifier() if isinstance(licences, LicenceSigner) else licences
        self._mesh = mesh
        self._node = gateway_node

    def text_of(self, licence: IssuedLicence) -> str:
        """Return the text a customer gets.

        Raises:
            ConfigurationInvalid: this process holds the public key only.
        """
        if self._signer is None:
            raise ConfigurationInvalid("this process has no licence key and cannot write one", "run it on the shop's")
        return self._signer.text_of(licence)

    async def activate(self, text: str, address: str) -> Admission:
        """Let a client's address in until its licence ends; the gateway's gate follows within a second or two.

        Asked again for the same address, it is the same admission.

        Raises:
            LicenceInvalid: the text is no licence of ours.
            LicenceRefused: it is over, taken back, or admits as many addresses as it may.
            PaymentInvalid: the address is none that a client can have.
            RefusedError: this installation has no gateway node.
        """
        claimed = self._verifier.read(text)
        client = canonical_address(address)
        if self._node is None:
            raise RefusedError("no gateway node admits clients here; set X0_GATEWAY_NODE and start `x0tta6bl4 up` anew")
        async with self._store.unit() as uow:
            # Locked: two devices that knock at once must not both find the last place free.
            licence = await _known(uow, claimed, for_update=True)
            standing = await uow.licences.admissions(licence=licence.id)
            now = self._clock.now()
            admission = admit(licence, client, standing, mesh=self._mesh, node=self._node, now=now)
            await uow.licences.admit(admission)
        log.info("client admitted", licence=licence.id, node=admission.node, until=admission.until.isoformat())
        return admission

    async def release(self, text: str, address: str) -> bool:
        """Let an address in no longer, so that another may take its place; False when it was not let in.

        Raises:
            LicenceInvalid: the text is no licence of ours.
            LicenceRefused: the ledger does not know it.
            PaymentInvalid: the address is none that a client can have.
        """
        claimed = self._verifier.read(text)
        client = canonical_address(address)
        async with self._store.unit() as uow:
            licence = await _known(uow, claimed, for_update=True)
            standing = await uow.licences.admissions(licence=licence.id)
            mine = [one for one in standing if one.address == client]
            for one in mine:
                await uow.licences.close(one, now=self._clock.now())
        return bool(mine)

    async def status(self, text: str) -> LicenceStatus:
        """Return what the ledger says of a licence, whether it is good or not.

        Raises:
            LicenceInvalid: the text is no licence of ours.
            LicenceRefused: the ledger does not know it.
        """
        claimed = self._verifier.read(text)
        async with self._store.unit() as uow:
            return await self._status(uow, await _known(uow, claimed))

    async def look_up(self, licence_id: str) -> LicenceStatus | None:
        """Return what the ledger says of the licence of this id; None when there is none."""
        async with self._store.unit() as uow:
            licence = await uow.licences.get(licence_id)
            return None if licence is None else await self._status(uow, licence)

    async def _status(self, uow: UnitOfWork, licence: IssuedLicence) -> LicenceStatus:
        now = self._clock.now()
        standing = tuple(one for one in await uow.licences.admissions(licence=licence.id) if one.until > now)
        passing: set[str] = set()
        for mesh, node in {(one.mesh, NodeId(one.node)) for one in standing}:
            passing |= let_through(await uow.duties.of_node(mesh, node))
        return LicenceStatus(licence, standing, frozenset(one.address for one in standing if one.address in passing))

    async def verify(self, text: str) -> IssuedLicence:
        """Return a licence that is genuine, in its time and not taken back.

        Raises:
            LicenceInvalid: the text is no licence of ours.
            LicenceRefused: it is over, taken back, or the ledger does not know it.
        """
        found = (await self.status(text)).licence
        require_usable(found, now=self._clock.now())
        return found

    async def revoke(self, licence_id: str, *, actor: str, reason: str) -> IssuedLicence:
        """Take a licence back and close the gate behind everyone it let in; audited, and done once.

        Raises:
            LicenceRefused: there is none of that id, or no reason was given.
        """
        if not reason.strip():
            raise LicenceRefused(licence_id, "say why it is taken back; the record keeps it")
        now = self._clock.now()
        async with self._store.unit() as uow:
            licence = await uow.licences.get(licence_id, for_update=True)
            if licence is None:
                raise LicenceRefused(licence_id, "there is none of that id")
            if await uow.licences.revoke(licence_id, now=now):
                for one in await uow.licences.admissions(licence=licence_id):
                    await uow.licences.close(one, now=now)
                entry = AuditEntry(now, licence.order, actor, "licence-revoked", f"{licence_id}: {reason.strip()}")
                await uow.ledger.record(entry)
                log.info("licence revoked", licence=licence_id, by=actor)
            taken_back = await uow.licences.get(licence_id)
        return taken_back or licence


async def _known(uow: UnitOfWork, claimed: IssuedLicence, *, for_update: bool = False) -> IssuedLicence:
    """Return the ledger's own row: what counts is what we keep, not what was carried around."""
    found = await uow.licences.get(claimed.id, for_update=for_update)
    if found is None:
        raise LicenceRefused(claimed.id, "our key signed it, but this installation's ledger does not know it")
    return found
