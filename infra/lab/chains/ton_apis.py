"""tonapi and toncenter over a made-up TON, in their own shapes."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infra.lab.chains.faults import Faults
from infra.lab.chains.ton_world import JettonMove, TonWorld, Tx
from models.payment_address import Address, Chain, parse_address

SHARD = "e000000000000000"
CELL_BYTES = 127


def _person(address: Address) -> dict[str, Any]:
    return {"address": address.raw_text, "is_scam": False, "is_wallet": True}


def text_cell(text: str) -> bytes:
    """Return a bag of cells with a text comment, as long as it needs to be."""
    told = bytes(4) + text.encode()
    parts = [told[place : place + CELL_BYTES] for place in range(0, len(told), CELL_BYTES)]
    cells = b"".join(
        bytes([place + 1 < len(parts), 2 * len(part)]) + part + bytes([place + 1] if place + 1 < len(parts) else [])
        for place, part in enumerate(parts)
    )
    return bytes.fromhex("b5ee9c72") + bytes([1, 2, len(parts), 1, 0]) + len(cells).to_bytes(2, "big") + b"\0" + cells


def _body(tx: Tx) -> bytes:
    if tx.receipt.raw_body is not None:
        return bytes.fromhex(tx.receipt.raw_body)
    return text_cell(tx.receipt.comment or "")


class TonApi:
    """tonapi: masterchain-confirmed transactions with decoded comments."""

    def __init__(self, world: TonWorld, faults: Faults) -> None:
        self.world = world
        self.faults = faults
        self.routes = [
            Route("/v2/blockchain/accounts/{account}/transactions", self.transactions),
            Route("/v2/blockchain/transactions/{hash}", self.transaction),
            Route("/v2/blockchain/messages/{hash}/transaction", self.by_message),
            Route("/v2/traces/{hash}", self.trace),
            Route("/v2/jettons/{master}/accounts/{account}/history", self.jettons),
            Route("/v2/blockchain/masterchain-head", self.head),
        ]

    async def transactions(self, request: Request) -> Response:
        """Answer an account's transactions, newest first, below a logical time."""
        address = parse_address(request.path_params["account"], Chain.TON)
        before = int(request.query_params.get("before_lt", 2**62))
        size = min(int(request.query_params.get("limit", "100")), self.faults.page_rows or 1000)
        known = [
            tx for tx in self.world.history(address, lag=self.faults.lag, hidden=self.faults.hidden) if tx.lt < before
        ]
        return JSONResponse({"transactions": [self._told(tx) for tx in known[:size]]})

    async def transaction(self, request: Request) -> Response:
        """Answer one transaction by its own hash."""
        tx = self.world.find(bytes.fromhex(request.path_params["hash"]), lag=self.faults.lag, hidden=self.faults.hidden)
        return self._unknown() if tx is None else JSONResponse(self._told(tx))

    async def by_message(self, request: Request) -> Response:
        """Answer the transaction that a message caused."""
        message = bytes.fromhex(request.path_params["hash"])
        found = [tx for tx in self.world.all(lag=self.faults.lag, hidden=self.faults.hidden) if tx.message == message]
        return JSONResponse(self._told(found[0])) if found else self._unknown()

    async def trace(self, request: Request) -> Response:
        """Answer the tree of transactions that one began."""
        root = bytes.fromhex(request.path_params["hash"])
        told = [tx for tx in self.world.all(lag=self.faults.lag, hidden=self.faults.hidden) if tx.trace == root]
        if not told:
            return self._unknown()
        nodes = [
            {"transaction": self._told(tx), "interfaces": ["wallet_v4r2"]} for tx in sorted(told, key=lambda tx: tx.lt)
        ]
        return JSONResponse({**nodes[0], "children": nodes[1:]})

    def _unknown(self) -> Response:
        return JSONResponse({"error": "entity not found"}, 404)

    def _told(self, tx: Tx) -> dict[str, Any]:
        receipt = tx.receipt
        body: dict[str, Any] = {
            "hash": tx.hash.hex(),
            "lt": tx.lt,
            "account": _person(tx.account),
            "success": receipt.success,
            "utime": int(tx.at.timestamp()),
            "orig_status": "active",
            "end_status": receipt.end_status,
            "total_fees": 223_223,
            "end_balance": 375_813_296_440,
            "transaction_type": "TransOrd" if receipt.kind == "ord" else "TransTickTock",
            "state_update_old": "0" * 64,
            "state_update_new": "1" * 64,
            "in_msg": self._message(tx),
            "out_msgs": [self._return(tx)] if receipt.sends_back else [],
            "block": f"(0,{SHARD},{tx.second})",
            "compute_phase": self._compute(tx),
            "storage_phase": {"fees_collected": 23, "status_change": "acst_unchanged"},
            "action_phase": {
                "success": receipt.action_success,
                "result_code": 0 if receipt.action_success else 37,
                "total_actions": 0,
                "skipped_actions": 0,
                "fwd_fees": 0,
                "total_fees": 0,
            },
            "aborted": not receipt.success,
            "destroyed": False,
            "raw": "",
        }
        if tx.source is not None:
            body["credit_phase"] = {
                "fees_collected": 0,
                "credit": tx.units if receipt.credited is None else receipt.credited,
            }
        if receipt.bounce_phase:
            body["bounce_phase"] = "TrPhaseBounceOk"
        if tx.previous is not None:
            body |= {"prev_trans_hash": tx.previous.hash.hex(), "prev_trans_lt": tx.previous.lt}
        return body

    def _compute(self, tx: Tx) -> dict[str, Any]:
        if tx.receipt.skipped is not None:
            return {"skipped": True, "skip_reason": f"cskip_{tx.receipt.skipped}"}
        return {"skipped": False, "success": tx.receipt.exit_code in {0, 1}, "exit_code": tx.receipt.exit_code}

    def _message(self, tx: Tx) -> dict[str, Any]:
        receipt = tx.receipt
        body: dict[str, Any] = {
            "msg_type": "ext_in_msg" if tx.source is None else "int_msg",
            "created_lt": tx.lt - 1,
            "ihr_disabled": True,
            "bounce": receipt.bounce and tx.source is not None,
            "bounced": receipt.bounced,
            "value": tx.units,
            "fwd_fee": 266_669,
            "ihr_fee": 0,
            "destination": _person(tx.account),
            "import_fee": 0,
            "created_at": int(tx.at.timestamp()),
            "hash": tx.message.hex() or "0" * 64,
        }
        if tx.source is not None:
            body["source"] = _person(tx.source)
        if receipt.opcode is not None:
            body |= {"op_code": f"0x{receipt.opcode:08x}", "raw_body": _body(tx).hex()}
        if receipt.comment is not None and receipt.raw_body is None:
            body |= {"decoded_op_name": "text_comment", "decoded_body": {"text": receipt.comment}}
        return body

    def _return(self, tx: Tx) -> dict[str, Any]:
        return self._message(tx) | {
            "source": _person(tx.account),
            "destination": None if tx.source is None else _person(tx.source),
            "bounced": tx.receipt.bounce_phase,
        }

    async def jettons(self, request: Request) -> Response:
        """Answer an owner's history of one jetton."""
        owner = parse_address(request.path_params["account"], Chain.TON)
        master = parse_address(request.path_params["master"], Chain.TON)
        before = int(request.query_params.get("before_lt", 2**62))
        size = min(int(request.query_params["limit"]), self.faults.page_rows or 1000)
        known = [
            self._operation(move)
            for move in reversed(self.world.jettons)
            if owner in {move.sender, move.receiver} and move.master == master and move.lt < before
        ]
        return JSONResponse({"operations": known[:size]})

    def _operation(self, move: JettonMove) -> dict[str, Any]:
        return {
            "operation": "transfer",
            "utime": int(move.at.timestamp()),
            "lt": move.lt,
            "jetton": {
                "address": move.master.raw_text,
                "name": "Tether USD",
                "symbol": "USD\u20ae",
                "decimals": 6,
                "verification": "whitelist",
                "image": "",
                "score": 100,
            },
            "transaction_hash": move.hash.hex(),
            "amount": str(move.units),
            "source": _person(move.sender),
            "destination": _person(move.receiver),
            "trace_id": move.hash.hex(),
            "query_id": "0",
            "payload": move.payload,
        }

    async def head(self, _: Request) -> Response:
        """Answer the newest masterchain block."""
        second = self.world.second - self.faults.lag
        at = int(self.world.now().timestamp()) - self.faults.lag
        streams = ("from_prev_blk", "to_next_blk", "imported", "exported", "fees_collected", "fees_imported")
        flow = {name: {"grams": 0, "other": []} for name in (*streams, "recovered", "created", "minted")}
        switches = dict.fromkeys(
            ("after_merge", "before_split", "after_split", "want_split", "want_merge", "key_block"), False
        )
        counts = dict.fromkeys(
            ("version", "start_lt", "end_lt", "vert_seqno", "gen_catchain_seqno", "min_ref_mc_seqno",
             "prev_key_block_seqno", "in_msg_descr_length", "out_msg_descr_length", "tx_quantity"),
            0,
        )  # fmt: skip
        hashes = dict.fromkeys(("root_hash", "file_hash", "rand_seed", "created_by"), "0" * 64)
        place = {"workchain_id": -1, "shard": "8000000000000000", "seqno": 1000 + second, "gen_utime": at}
        rest = {"global_id": -239, "value_flow": flow, "prev_refs": []}
        return JSONResponse({**counts, **switches, **hashes, **rest, **place})


class TonCenterApi:
    """toncenter v3: base64 hashes, upper-case raw addresses, numbers as strings; forecasts by hash."""

    def __init__(self, world: TonWorld, faults: Faults) -> None:
        self.world = world
        self.faults = faults
        self.routes = [
            Route("/api/v3/transactions", self.transactions),
            Route("/api/v3/transactionsByMessage", self.by_message),
            Route("/api/v3/traces", self.traces),
            Route("/api/v3/masterchainInfo", self.head),
        ]

    async def transactions(self, request: Request) -> Response:
        """Answer by account and highest logical time, or by hash."""
        query = request.query_params
        if "hash" in query:
            tx = self.world.find(
                bytes.fromhex(query["hash"]), lag=self.faults.lag, hidden=self.faults.hidden, forecasts=True
            )
            known = [] if tx is None else [tx]
        else:
            last = int(query.get("end_lt", 2**62))
            address = parse_address(query["account"], Chain.TON)
            history = self.world.history(address, lag=self.faults.lag, hidden=self.faults.hidden, forecasts=True)
            known = [tx for tx in history if tx.lt <= last]
        size = min(int(query.get("limit", "10")), self.faults.page_rows or 1000)
        return JSONResponse({"transactions": [self._told(tx) for tx in known[:size]], "address_book": {}})

    async def by_message(self, request: Request) -> Response:
        """Answer the transaction that a message caused."""
        message = bytes.fromhex(request.query_params["msg_hash"])
        known = [
            tx
            for tx in self.world.all(lag=self.faults.lag, hidden=self.faults.hidden, forecasts=True)
            if tx.message == message
        ]
        return JSONResponse({"transactions": [self._told(tx) for tx in known], "address_book": {}})

    async def traces(self, request: Request) -> Response:
        """Answer the trace a transaction belongs to."""
        tx = self.world.find(
            bytes.fromhex(request.query_params["tx_hash"]),
            lag=self.faults.lag,
            hidden=self.faults.hidden,
            forecasts=True,
        )
        if tx is None:
            return JSONResponse({"traces": []})
        told = [
            one
            for one in self.world.all(lag=self.faults.lag, hidden=self.faults.hidden, forecasts=True)
            if one.trace == tx.trace
        ]
        book = {b64encode(one.hash).decode(): self._told(one) for one in told}
        return JSONResponse({"traces": [{"trace_id": b64encode(tx.trace).decode(), "transactions": book}]})

    def _told(self, tx: Tx) -> dict[str, Any]:
        receipt, previous = tx.receipt, tx.previous
        description: dict[str, Any] = {
            "type": "ord" if receipt.kind == "ord" else "tick_tock",
            "aborted": not receipt.success,
            "destroyed": False,
            "credit_first": not receipt.bounce,
            "compute_ph": {"skipped": True, "reason": receipt.skipped}
            if receipt.skipped is not None
            else {"skipped": False, "success": receipt.exit_code in {0, 1}, "exit_code": receipt.exit_code},
            "action": {"success": receipt.action_success, "valid": True, "result_code": 0},
        }
        if tx.source is not None:
            description["credit_ph"] = {"credit": str(tx.units if receipt.credited is None else receipt.credited)}
        if receipt.bounce_phase:
            description["bounce"] = {"type": "ok", "msg_fees": "133331", "fwd_fees": "266669"}
        return {
            "account": tx.account.raw_text.upper(),
            "hash": b64encode(tx.hash).decode(),
            "lt": str(tx.lt),
            "now": int(tx.at.timestamp()),
            "mc_block_seqno": tx.second,
            "trace_id": b64encode(tx.trace).decode(),
            "prev_trans_hash": b64encode(bytes(32) if previous is None else previous.hash).decode(),
            "prev_trans_lt": "0" if previous is None else str(previous.lt),
            "orig_status": "active",
            "end_status": receipt.end_status,
            "total_fees": "223223",
            "description": description,
            "block_ref": {"workchain": 0, "shard": SHARD.upper(), "seqno": tx.second},
            "in_msg": self._message(tx),
            "out_msgs": [self._return(tx)] if receipt.sends_back else [],
            "emulated": tx.second is None,
        }

    def _message(self, tx: Tx) -> dict[str, Any]:
        receipt = tx.receipt
        decoded = None
        if receipt.comment is not None and receipt.raw_body is None:
            decoded = {"type": "text_comment", "comment": receipt.comment}
        return {
            "hash": b64encode(tx.message or bytes(32)).decode(),
            "source": None if tx.source is None else tx.source.raw_text.upper(),
            "destination": tx.account.raw_text.upper(),
            "value": None if tx.source is None else str(tx.units),
            "created_lt": str(tx.lt - 1),
            "opcode": None if receipt.opcode is None else f"0x{receipt.opcode:08x}",
            "bounce": None if tx.source is None else receipt.bounce,
            "bounced": None if tx.source is None else receipt.bounced,
            "message_content": {"hash": "", "body": b64encode(_body(tx)).decode(), "decoded": decoded},
        }

    def _return(self, tx: Tx) -> dict[str, Any]:
        return self._message(tx) | {
            "source": tx.account.raw_text.upper(),
            "destination": None if tx.source is None else tx.source.raw_text.upper(),
            "value": str(tx.units),
        }

    async def head(self, _: Request) -> Response:
        """Answer the newest masterchain block."""
        second = self.world.second - self.faults.lag
        at = int(self.world.now().timestamp()) - self.faults.lag
        block = {"workchain": -1, "shard": "8000000000000000", "seqno": 1000 + second, "gen_utime": str(at)}
        return JSONResponse({"first": block, "last": block})
