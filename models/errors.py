"""Everything that can go wrong, by who must act.

MeshError
|-- TransientError   may succeed later: retried, counted, 503
|   |-- SourceUnavailable
|   |-- NodeUnavailable
|   |-- PaymentPending
|   `-- ChainUnavailable
|       |-- ChainBusy
|       `-- ChainAnswerInvalid
|-- RefusedError     our rules say no, as designed: recorded, 409, nobody paged
|   |-- RemedyRejected
|   |-- OrderRefused
|   |-- StaleEpoch
|   |-- DecisionRefused
|   |-- PaymentMismatch
|   |   `-- OrderUnknown
|   |-- PaymentInvalid
|   |   `-- KeyReused
|   |-- KeyInFlight
|   |-- AmountTaken
|   |-- TransferSpent
|   |-- SnapshotInvalid
|   |-- NotEnoughHistory
|   |-- LicenceInvalid
|   `-- LicenceRefused
`-- BrokenError      we or the configuration are wrong: stops the flow, pages, 500
    |-- ConfigurationInvalid
    |-- DatasetInvalid
    |-- ToolMissing
    |-- ProgramInvalid
    |-- KernelRefused
    |-- WeightsCorrupt
    `-- ProviderKeyRefused
"""

from __future__ import annotations


class MeshError(Exception):
    """Base of every error of ours; its text is one sentence for a person."""


class TransientError(MeshError):
    """May succeed later."""


class SourceUnavailable(TransientError):
    """Raised when something we read from (database, API, daemon socket) does not answer."""

    def __init__(self, source: str, detail: str = "") -> None:
        super().__init__(f"{source} does not answer{': ' + detail if detail else ''}")
        self.source = source


class NodeUnavailable(TransientError):
    """Raised when a node's actuator or collector does not answer in time."""

    def __init__(self, node: str, detail: str = "") -> None:
        super().__init__(f"node {node} does not answer{': ' + detail if detail else ''}")
        self.node = node


class PaymentPending(TransientError):
    """Raised when a claimed payment is neither counted nor refuted yet: look again."""

    def __init__(self, order: str) -> None:
        super().__init__(f"order {order}: what was claimed is neither counted nor refuted yet")
        self.order = order


class ChainUnavailable(TransientError):
    """Raised when a chain provider does not answer, or not usefully; the order stays as it is. Never names a key."""

    def __init__(self, provider: str, detail: str = "") -> None:
        super().__init__(f"{provider} does not answer{': ' + detail if detail else ''}")
        self.provider = provider
        self.detail = detail


class ChainBusy(ChainUnavailable):
    """Raised when a provider, our own budget of calls, or an open breaker tells us to wait.

    Attributes:
        wait_s: Seconds until a call makes sense again.
    """

    def __init__(self, provider: str, detail: str, *, wait_s: float) -> None:
        super().__init__(provider, f"{detail}; asking again in {wait_s:.0f} s")
        self.wait_s = wait_s


class ChainAnswerInvalid(ChainUnavailable):
    """Raised when a provider's answer is not what its contract says: alert, since its shape may have changed."""


class RefusedError(MeshError):
    """Our rules say no, as designed."""


class RemedyRejected(RefusedError):
    """Raised when a guard refuses a remedy just before it would act."""

    def __init__(self, remedy: str, limit: str) -> None:
        super().__init__(f"{remedy} refused: {limit}")
        self.limit = limit


class OrderRefused(RefusedError):
    """Raised by an actuator: unsigned, expired, replayed, foreign, or its precondition does not hold."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"order refused: {reason}")
        self.reason = reason


class StaleEpoch(RefusedError):
    """Raised when a long run writes after its successor took over."""

    def __init__(self, role: str, epoch: int) -> None:
        super().__init__(f"{role} epoch {epoch} was superseded")
        self.role = role
        self.epoch = epoch


class DecisionRefused(RefusedError):
    """Raised when an approval is unknown, expired, used, or bound to another plan."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"decision refused: {reason}")


class PaymentMismatch(RefusedError):
    """Raised when a transfer or a wish does not fit the order it is meant for."""

    def __init__(self, order: str, reason: str) -> None:
        super().__init__(f"order {order}: {reason}")
        self.reason = reason


class OrderUnknown(PaymentMismatch):
    """Raised when there is no such order, or it is somebody else's: one sentence for both, so that ids tell nothing."""

    def __init__(self, order: str) -> None:
        super().__init__(order, "you have no such order")


class PaymentInvalid(RefusedError):
    """Raised when an amount, address, currency or hash that a person typed cannot be one."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(f"{what} is not usable: {mend}")
        self.what = what
        self.mend = mend


class KeyReused(PaymentInvalid):
    """Raised when an idempotency key comes with another wish than the one it was first sent with."""

    def __init__(self, key: str) -> None:
        super().__init__("the Idempotency-Key", "it came with another body before; choose a new one for a new wish")
        self.key = key


class KeyInFlight(RefusedError):
    """Raised when a wish with this idempotency key is being granted at this moment; ask again to see its answer."""

    def __init__(self, key: str) -> None:
        super().__init__("a request with this Idempotency-Key is being answered; ask again in a second")
        self.key = key


class AmountTaken(RefusedError):
    """Raised when another watched order has this very amount (or code, or id); draw others and try again."""

    def __init__(self, order: str) -> None:
        super().__init__(f"the amount or the name of order {order} is reserved by another order; draw another")
        self.order = order


class TransferSpent(RefusedError):
    """Raised when a transfer was counted for another order before; whoever lost the race reads again."""

    def __init__(self, transfer: str, order: str) -> None:
        super().__init__(f"transfer {transfer} was credited to another order than {order} before")
        self.transfer = transfer
        self.order = order


class SnapshotInvalid(RefusedError):
    """Raised when what is given for analysis cannot be read as a snapshot.

    Attributes:
        field: Which part of it.
    """

    def __init__(self, field: str, advice: str) -> None:
        super().__init__(f"the snapshot's {field} cannot be used: {advice}")
        self.field = field


class NotEnoughHistory(RefusedError):
    """Raised instead of a guess when the past is too short to say what is normal."""

    def __init__(self, have: int, need: int) -> None:
        super().__init__(f"not enough history: {have} rows before the incident, {need} are needed")
        self.have = have
        self.need = need


class LicenceInvalid(RefusedError):
    """Raised when a text is no licence of ours: altered, torn, or signed with another key."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"this is no licence of ours: {reason}")
        self.reason = reason


class LicenceRefused(RefusedError):
    """Raised when a genuine licence may not be used so: expired, taken back, full, or for no such address."""

    def __init__(self, licence: str, reason: str) -> None:
        super().__init__(f"licence {licence}: {reason}")
        self.licence = licence
        self.reason = reason


class BrokenError(MeshError):
    """We or the configuration are wrong."""


class ConfigurationInvalid(BrokenError):
    """Raised when a file or setting cannot be used; says which and what to do."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(f"{what}; {mend}")
        self.mend = mend


class DatasetInvalid(BrokenError):
    """Raised when files given as a published set of incidents are not laid out as that set is.

    Attributes:
        path: Which file or folder.
    """

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(f"{path} cannot be read as this set: {detail}; check --data and --format")
        self.path = path


class ToolMissing(BrokenError):
    """Raised when a program of the system is not installed."""

    def __init__(self, tool: str, mend: str) -> None:
        super().__init__(f"{tool} is not installed; {mend}")
        self.mend = mend


class ProgramInvalid(BrokenError):
    """Raised when an eBPF object cannot be used, before the kernel sees it."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path} is not a usable eBPF object: {reason}")
        self.reason = reason


class KernelRefused(BrokenError):
    """Raised when the kernel rejects a program or an attachment; carries the log's last lines."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"the kernel refused {what}: {reason}")
        self.reason = reason


class WeightsCorrupt(BrokenError):
    """Raised when a model's weights are not the bytes that were promoted; whatever is in use stays in use."""

    def __init__(self, digest: str, reason: str) -> None:
        super().__init__(f"weights {digest[:12]} are refused: {reason}; restore them, or train and promote anew")
        self.digest = digest


class ProviderKeyRefused(BrokenError):
    """Raised when a chain provider refuses our key, or asks for one: no retry helps, an operator must act."""

    def __init__(self, provider: str, variable: str) -> None:
        super().__init__(f"{provider} refused our key; check {variable} in the environment of the payment worker")
        self.provider = provider
        self.variable = variable
