"""TronScan and TronGrid over a made-up TRON, in their own shapes."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infra.lab.chains.faults import Faults
from infra.lab.chains.made import account
from infra.lab.chains.tron_world import Call, Move, TronWorld
from models.payment_address import Address, Chain
from models.payment_rules import TRANSFER_TOPIC

TRONSCAN_ROWS = 50
LAST_OFFSET = 10_000


def _millis(world: TronWorld, call: Call) -> int:
    return int(world.time_of(call.height).timestamp() * 1000)


def _token(call: Call, move: Move) -> dict[str, Any]:
    return {
        "tokenId": str(move.contract),
        "tokenAbbr": call.symbol,
        "tokenName": "Tether USD",
        "tokenDecimal": call.decimals,
        "tokenCanShow": 1,
        "tokenType": "trc20",
        "tokenLogo": "https://static.example/usdt.png",
        "tokenLevel": "2",
        "issuerAddr": str(account(Chain.TRON, "issuer")),
        "vip": True,
    }


class TronScanApi:
    """TronScan: a feed without log indices, details by hash, events in batches."""

    def __init__(self, world: TronWorld, faults: Faults) -> None:
        self.world = world
        self.faults = faults
        self.routes = [
            Route("/api/token_trc20/transfers", self.transfers),
            Route("/api/transaction-info", self.transaction),
            Route("/api/contracts/smart-contract-triggers-batch", self.events, methods=["POST"]),
            Route("/api/block", self.block),
        ]

    def _row(self, call: Call, move: Move) -> dict[str, Any]:
        return {
            "transaction_id": call.tx.hex(),
            "status": 0,
            "block_ts": _millis(self.world, call),
            "from_address": str(move.sender),
            "to_address": str(move.receiver),
            "block": call.height,
            "contract_address": str(move.contract),
            "quant": str(move.units),
            "approval_amount": "0",
            "event_type": "Transfer",
            "confirmed": self.world.is_solid(call, lag=self.faults.lag),
            "contractRet": call.result,
            "finalResult": call.result,
            "tokenInfo": _token(call, move),
            "fromAddressIsContract": False,
            "toAddressIsContract": False,
            "revert": False,
            "contract_type": "trc20",
            "riskTransaction": False,
        }

    async def transfers(self, request: Request) -> Response:
        """Answer the feed: both directions, newest first, 50 rows at most, useless totals."""
        query = request.query_params
        start = int(query.get("start", "0"))
        if start > LAST_OFFSET:
            return JSONResponse({"message": "some parameters are invalid or out of range"}, 400)
        first, last = int(query.get("start_timestamp", "0")), int(query.get("end_timestamp", "0"))
        ours, contract = query["relatedAddress"], self.faults.asked_token(query.get("contract_address"))
        rows = [
            self._row(call, move)
            for call in self.world.told(lag=self.faults.lag, hidden=self.faults.hidden)
            if call.succeeded
            for move in call.moves
            if ours in {str(move.sender), str(move.receiver)} and contract in {None, str(move.contract)}
        ]
        if first or last:
            bounds = first // 1000, (last or 10**15) // 1000
            rows = [row for row in rows if bounds[0] <= row["block_ts"] // 1000 <= bounds[1]]
        size = min(int(query.get("limit", "20")), self.faults.page_rows or TRONSCAN_ROWS)
        return JSONResponse(
            {
                "total": 10_000,
                "rangeTotal": -1,
                "token_transfers": rows[start : start + size] if start < LAST_OFFSET else [],
            }
        )

    async def transaction(self, request: Request) -> Response:
        """Answer details; a failed call lists the attempted transfer all the same."""
        asked = bytes.fromhex(request.query_params["hash"])
        call = self.world.find(asked, lag=self.faults.lag, hidden=self.faults.hidden)
        if call is None:
            return JSONResponse({})
        listed = [
            {
                "symbol": call.symbol,
                "to_address": str(move.receiver),
                "contract_address": str(move.contract),
                "type": "Transfer",
                "decimals": call.decimals,
                "from_address": str(move.sender),
                "amount_str": str(move.units),
                "status": 0,
            }
            for move in call.moves
        ]
        return JSONResponse(
            {
                "contractRet": call.result,
                "contractType": 31,
                "event_count": len(call.moves) if call.succeeded else 0,
                "toAddress": str(call.called),
                "confirmed": self.world.is_solid(call, lag=self.faults.lag),
                "trc20TransferInfo": listed,
                "tokenTransferInfo": listed[0] if listed else {},
                "transfersAllList": listed if call.succeeded else [],
                "block": call.height,
                "riskTransaction": False,
                "timestamp": _millis(self.world, call),
                "revert": False,
                "confirmations": self.world.height - call.height,
                "contract_type": "trc20",
                "ownerAddress": str(account(Chain.TRON, "relayer")),
                "hash": call.tx.hex(),
            }
        )

    async def events(self, request: Request) -> Response:
        """Answer the events of up to a hundred hashes, the only place with event indices."""
        wanted = (await request.json())["hashList"][:100]
        found = [
            {
                "block_number": call.height,
                "block_timestamp": _millis(self.world, call),
                "caller_contract_address": str(move.contract),
                "contract_address": str(move.contract),
                "event_index": index,
                "event_name": "Transfer",
                "result": {
                    "0": "0x" + move.sender.evm.hex(),
                    "1": "0x" + move.receiver.evm.hex(),
                    "2": str(move.units),
                    "from": "0x" + move.sender.evm.hex(),
                    "to": "0x" + move.receiver.evm.hex(),
                    "value": str(move.units),
                },
                "event": "Transfer(address indexed from, address indexed to, uint256 value)",
                "transaction_id": call.tx.hex(),
            }
            for call in self.world.told(lag=self.faults.lag, hidden=self.faults.hidden)
            if call.tx.hex() in wanted and call.succeeded
            for index, move in enumerate(call.moves)
        ]
        return JSONResponse({"event_list": found, "list": []})

    async def block(self, _: Request) -> Response:
        """Answer the newest block."""
        height = self.world.height - self.faults.lag
        at = int(self.world.time_of(height).timestamp() * 1000)
        return JSONResponse({"total": height, "rangeTotal": 0, "data": [{"number": height, "timestamp": at}]})


class TronGridApi:
    """TronGrid: a thin feed by fingerprint, and receipts from the head and from the solid chain."""

    def __init__(self, world: TronWorld, faults: Faults) -> None:
        self.world = world
        self.faults = faults
        self.routes = [
            Route("/v1/accounts/{address}/transactions/trc20", self.transfers),
            Route("/wallet/gettransactioninfobyid", self.head_receipt, methods=["POST"]),
            Route("/walletsolidity/gettransactioninfobyid", self.solid_receipt, methods=["POST"]),
            Route("/walletsolidity/getnowblock", self.block, methods=["POST"]),
        ]

    async def transfers(self, request: Request) -> Response:
        """Answer the feed with the filters that were asked, and a fingerprint when there is more."""
        query, ours = request.query_params, request.path_params["address"]
        rows: list[dict[str, Any]] = [
            {
                "transaction_id": call.tx.hex(),
                "token_info": {
                    "symbol": call.symbol,
                    "address": str(move.contract),
                    "decimals": call.decimals,
                    "name": "Tether USD",
                },
                "block_timestamp": _millis(self.world, call),
                "from": str(move.sender),
                "to": str(move.receiver),
                "type": "Transfer",
                "value": str(move.units),
            }
            for call in self.world.told(lag=self.faults.lag, hidden=self.faults.hidden)
            if call.succeeded
            and (query.get("only_confirmed") != "true" or self.world.is_solid(call, lag=self.faults.lag))
            for move in call.moves
            if ours == str(move.receiver) or (query.get("only_to") != "true" and ours == str(move.sender))
        ]
        rows = [
            row
            for row in rows
            if self.faults.asked_token(query.get("contract_address")) in {None, row["token_info"]["address"]}
            and row["block_timestamp"] >= int(query.get("min_timestamp", "0"))
        ]
        start = int(query.get("fingerprint", "0"))
        size = min(int(query.get("limit", "20")), self.faults.page_rows or 200)
        meta: dict[str, Any] = {
            "at": int(self.world.now().timestamp() * 1000),
            "page_size": len(rows[start : start + size]),
        }
        if start + size < len(rows):
            meta["fingerprint"] = str(start + size)
            meta["links"] = {"next": "http://127.0.0.1:9/never-followed"}
        return JSONResponse({"data": rows[start : start + size], "success": True, "meta": meta})

    async def head_receipt(self, request: Request) -> Response:
        """Answer from the newest block."""
        return await self._receipt(request, solid=False)

    async def solid_receipt(self, request: Request) -> Response:
        """Answer only what can no longer vanish."""
        return await self._receipt(request, solid=True)

    async def _receipt(self, request: Request, *, solid: bool) -> Response:
        asked = bytes.fromhex((await request.json())["value"])
        call = self.world.find(asked, lag=self.faults.lag, hidden=self.faults.hidden)
        if call is None or (solid and not self.world.is_solid(call, lag=self.faults.lag)):
            return JSONResponse({})
        body: dict[str, Any] = {
            "id": call.tx.hex(),
            "fee": 345_000,
            "blockNumber": call.height,
            "blockTimeStamp": _millis(self.world, call),
            "contractResult": ["0" * 64 if call.succeeded else ""],
            "contract_address": call.called.raw.hex(),
            "receipt": {"energy_usage_total": 64_285, "net_fee": 345_000, "result": call.result},
        }
        if call.succeeded:
            body["log"] = [self._log(move) for move in call.moves]
        else:
            body |= {"result": "FAILED", "resMessage": "4e6f"}
        return JSONResponse(body)

    def _log(self, move: Move) -> dict[str, Any]:
        def padded(address: Address) -> str:
            return "0" * 24 + address.evm.hex()

        return {
            "address": move.contract.evm.hex(),
            "topics": [TRANSFER_TOPIC.hex(), padded(move.sender), padded(move.receiver)],
            "data": f"{move.units:064x}",
        }

    async def block(self, _: Request) -> Response:
        """Answer the newest solid block."""
        height = self.world.height - self.faults.lag - 19
        at = int(self.world.time_of(height).timestamp() * 1000)
        return JSONResponse({"blockID": "0" * 64, "block_header": {"raw_data": {"number": height, "timestamp": at}}})
