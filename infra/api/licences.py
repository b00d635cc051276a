"""Using a licence: let an address in, let it out, look, and take the licence back."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path
from pydantic import Field

from infra.access import Access, LicenceStatus
from infra.api.gateway import AnyGateway, Buyer, Gateway, Operator
from infra.api.problems import documented
from infra.api.schemas import ID_PATTERN, Ask, View
from models.errors import OrderUnknown, RefusedError
from models.ledger import Admission

router = APIRouter(prefix="/api/v1/licences", tags=["licences"])

# Ours are some 350 characters; blanks of a chat come on top.
LONGEST_TEXT = 4096
# The longest spelling of an IPv6 address is 45; what is longer never was one.
LONGEST_ADDRESS = 64
# As a refund's note: one sentence for the record, or a short paragraph.
LONGEST_REASON = 500

Named = Annotated[
    str, Path(pattern=ID_PATTERN, description="A licence's id, as its order tells it.", examples=["lic-ord-k3mn7pqr"])
]


class AddressAsk(Ask):
    """A licence, and the client's address it is about."""

    licence: str = Field(max_length=LONGEST_TEXT, description="The signed text; blanks and line breaks do not matter.")
    address: str = Field(max_length=LONGEST_ADDRESS, description="IPv4 or IPv6.", examples=["10.45.0.2"])


class RevocationAsk(Ask):
    """Why a licence is taken back."""

    reason: str = Field(min_length=1, max_length=LONGEST_REASON, description="Kept with the order for ever.")


class AdmissionView(View):
    """An address that a licence lets through a gateway node."""

    licence: str = Field(description="The licence's id.")
    node: str
    address: str = Field(description="In its one canonical spelling.")
    until: datetime = Field(description="When the kernel itself forgets it.")


class ReleaseView(View):
    """What became of an address that was to be let out."""

    was_in: bool = Field(description="False when this licence did not let it in.")


class PassingView(AdmissionView):
    """The same, and whether the gateway node has done it."""

    passes: bool = Field(description="The node reported that it lets the address through.")


class StatusView(View):
    """A licence as the ledger keeps it, and whom it lets in."""

    id: str
    plan: str
    devices: int = Field(description="How many addresses it lets in at once.")
    issued_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    admissions: list[PassingView]


def _access(gateway: Gateway) -> Access:
    if gateway.access is None:
        raise RefusedError("this gateway has no licence key; `x0tta6bl4 up` makes one in the state folder")
    return gateway.access


def _shown(status: LicenceStatus) -> StatusView:
    licence = status.licence
    return StatusView(
        id=licence.id,
        plan=licence.plan,
        devices=licence.devices,
        issued_at=licence.issued_at,
        expires_at=licence.expires_at,
        revoked_at=licence.revoked_at,
        admissions=[_passing(one, passes=one.address in status.passing) for one in status.admissions],
    )


def _passing(admission: Admission, *, passes: bool) -> PassingView:
    return PassingView(
        licence=admission.licence,
        node=admission.node,
        address=admission.address,
        until=admission.until,
        passes=passes,
    )


@router.post(
    "/activate", summary="Let an address in", responses=documented(401, 403, 408, 409, 413, 422, 429, 500, 503)
)
async def activate(gateway: AnyGateway, _: Buyer, wish: AddressAsk) -> AdmissionView:
    """Let a client's address through the gateway node until the licence ends; asked again, nothing changes.

    The gate follows within a second or two: `GET /api/v1/licences/{licence}` tells when it has.
    """
    return AdmissionView.model_validate(await _access(gateway).activate(wish.licence, wish.address))


@router.post(
    "/release", summary="Let an address out", responses=documented(401, 403, 408, 409, 413, 422, 429, 500, 503)
)
async def release(gateway: AnyGateway, _: Buyer, wish: AddressAsk) -> ReleaseView:
    """Let a client's address through no longer, so that another device may have its place."""
    return ReleaseView(was_in=await _access(gateway).release(wish.licence, wish.address))


@router.get(
    "/{licence}", summary="A licence and whom it lets in", responses=documented(401, 403, 404, 409, 422, 429, 500, 503)
)
async def status(gateway: AnyGateway, customer: Buyer, licence: Named) -> StatusView:
    """Show a licence of yours as the ledger keeps it, and each address it lets in."""
    found = await _access(gateway).look_up(licence)
    if found is not None:
        try:
            await gateway.shop.sale(found.licence.order, buyer=customer.sees)
        except OrderUnknown:
            # Somebody else's: the same answer as for one that does not exist.
            found = None
    if found is None:
        raise HTTPException(404, f"there is no licence {licence}")
    return _shown(found)


@router.post(
    "/{licence}/revoke",
    summary="Take a licence back",
    responses=documented(401, 403, 404, 408, 409, 413, 422, 500, 503),
)
async def revoke(gateway: AnyGateway, token: Operator, licence: Named, wish: RevocationAsk) -> StatusView:
    """Take a licence back and close the gate behind everyone it let in; recorded with who and why."""
    access = _access(gateway)
    if await access.look_up(licence) is None:
        raise HTTPException(404, f"there is no licence {licence}")
    return _shown(LicenceStatus(await access.revoke(licence, actor=f"api:{token.name}", reason=wish.reason)))
