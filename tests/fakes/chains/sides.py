"""One provider of the stand-in as the contract sees it: the same few deeds on either chain."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from infra.lab.chains.faults import Faults
from infra.lab.chains.made import account
from infra.lab.chains.server import StandIn
from infra.lab.chains.ton_world import Receipt
from infra.lab.chains.tron_world import Move
from models.payment import Asset, Provider
from models.payment_address import Address, Chain
from models.payment_ports import ChainProvider
from tests.fakes.chains.examples import OURS, OURS_ON_TON


@dataclass(frozen=True, slots=True)
class Side:
    """A provider under test and the chain behind it.

    Attributes:
        asked: The adapter.
        stand_in: Both worlds.
    """

    asked: ChainProvider
    stand_in: StandIn

    @property
    def provider(self) -> Provider:
        """Return which one."""
        return self.asked.provider

    @property
    def faults(self) -> Faults:
        """Return what can go wrong with it."""
        return self.stand_in.faults[self.provider]

    @property
    def is_tron(self) -> bool:
        """Tell which chain it speaks of."""
        return self.provider.chain is Chain.TRON

    @property
    def ours(self) -> Address:
        """Return our deposit address."""
        return OURS if self.is_tron else OURS_ON_TON

    @property
    def asset(self) -> Asset:
        """Return what its main feed tells."""
        return Asset.USDT_TRON if self.is_tron else Asset.TON

    def now(self) -> datetime:
        """Return the chain's present."""
        return self.stand_in.tron.now() if self.is_tron else self.stand_in.ton.now()

    def pay(self, units: int) -> bytes:
        """Pay us, not final yet."""
        if self.is_tron:
            return self.stand_in.tron.pay(self.ours, units)
        return self.stand_in.ton.pay(self.ours, units, forecast=True)

    def pay_in_vain(self, units: int) -> bytes:
        """Try to pay us: a failed call, or a message that bounces."""
        if self.is_tron:
            return self.stand_in.tron.pay(self.ours, units, result="OUT_OF_ENERGY")
        return self.stand_in.ton.pay(self.ours, units, Receipt(exit_code=131, bounce_phase=True, sends_back=True))

    def spend(self, units: int) -> bytes:
        """Pay somebody else from our address."""
        if self.is_tron:
            elsewhere = account(Chain.TRON, "elsewhere")
            move = Move(
                contract=self.stand_in.tron.move(elsewhere, 1).contract,
                sender=self.ours,
                receiver=elsewhere,
                units=units,
            )
            return self.stand_in.tron.call([move])
        return self.stand_in.ton.send(self.ours)

    def settle_chain(self) -> None:
        """Let everything so far become final."""
        if self.is_tron:
            self.stand_in.tron.solidify()
        else:
            self.stand_in.ton.solidify()

    def vanish(self, tx: bytes) -> None:
        """Lose a payment that was not final."""
        if self.is_tron:
            self.stand_in.tron.vanish(tx)
        else:
            self.stand_in.ton.vanish(tx)
