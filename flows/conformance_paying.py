"""What the buyers of a payment case do on the chains."""

from __future__ import annotations

from flows.conformance_terms import Terms
from infra.lab.casefile import MovePart, PayStep
from infra.lab.chains.together import Together, contract_named
from infra.lab.chains.ton_world import Receipt
from models.payment import Asset
from models.payment_address import Chain
from models.payment_rules import USDT_TRON_CONTRACT


def pay(step: PayStep, terms: Terms, chains: Together) -> None:
    """Make a step's transactions, as often as it says, and remember the last under the step's name for it."""
    for _ in range(step.times):
        chain, tx = _paid(step, terms, chains)
        chains.hide(tx, step.hidden_from)
        if step.tx is not None:
            chains.made[step.tx] = (chain, tx)


def _paid(step: PayStep, terms: Terms, chains: Together) -> tuple[Chain, bytes]:
    at = None if step.at is None else terms.moment(step.at)
    asset = step.asset or (terms.sale(step.order).order.amount.asset if step.order else Asset.USDT_TRON)
    units = step.units if step.units is not None else terms.units(step.amount or step.order or "0", asset)
    if asset is Asset.USDT_TON:
        master = None if step.token is None else step.token.contract
        return Chain.TON, chains.send_jettons(step.to, units, master=master, payload=step.payload)
    if asset is Asset.TON:
        receipt = Receipt(**step.receipt.model_dump(), comment=_comment(step, terms))
        return Chain.TON, chains.send(step.to, units, receipt, payer=step.payer, forecast=step.only_forecast, at=at)
    parts = step.moves or (MovePart(amount="0", to=step.to, token=step.token),)
    moves = [
        chains.move(
            part.to,
            terms.units(part.amount, asset) if step.moves else units,
            payer=step.payer,
            contract=USDT_TRON_CONTRACT if part.token is None else contract_named(part.token.contract),
        )
        for part in parts
    ]
    token = parts[0].token
    return Chain.TRON, chains.call(
        moves,
        result=step.result,
        called=step.called,
        symbol="USDT" if token is None else token.symbol,
        decimals=Asset.USDT_TRON.decimals if token is None else token.decimals,
        same_block=step.same_block,
        at=at,
    )


def _comment(step: PayStep, terms: Terms) -> str | None:
    if step.comment is not None:
        return terms.comment(step.comment)
    return None if step.order is None else terms.sale(step.order).order.code
