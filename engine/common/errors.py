"""Every error GoDark raises, once, in one hierarchy.

An error has a `code` (stable, for machines), says whether the same call may succeed if repeated
(`retriable`), which exit status it becomes, and carries its context as named values. The command line
is the one place where an error becomes an exit status and a log line.
"""

from __future__ import annotations

import errno
from typing import ClassVar

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Numbers of the system's errors that say: the disk is full, try again when there is room."""


class GodarkError(Exception):
    """Base of every error raised on purpose. `context` must never hold a secret."""

    code: ClassVar[str] = "godark"
    retriable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, **context: object) -> None:
        super().__init__(message)
        self.message = message
        self.context = context

    def line(self) -> str:
        """One line for a person: what is wrong and, in the message, how to mend it."""
        return " ".join(self.message.split())


class UsageError(GodarkError):
    """The command was asked for something it does not do."""

    code = "usage"
    exit_code = 2


class SettingsError(GodarkError):
    """A setting is unknown, of the wrong type, or contradicts another."""

    code = "settings"
    exit_code = 2


class InputFileError(GodarkError):
    """A file handed to a command cannot be used. Names the file, the row (from 1) and the reason."""

    code = "input_file"
    exit_code = 2

    def __init__(self, file: str, reason: str, row: int | None = None) -> None:
        where = file if row is None else f"{file}: row {row}"
        super().__init__(f"{where}: {reason}", file=file, row=row, reason=reason)


class ParameterError(GodarkError):
    """A parameter table contradicts itself. Names the field and the rule."""

    code = "parameter"
    exit_code = 2


class JournalError(GodarkError):
    """The journal cannot be opened, read or written."""

    code = "journal"
    exit_code = 3


class JournalDamaged(JournalError):
    """Bytes that were durable are damaged. Never repaired by guessing: names segment and offset."""

    code = "journal_damaged"


class JournalLocked(JournalError):
    """Another engine holds the journal."""

    code = "journal_locked"


class JournalFull(JournalError):
    """The disk has no room; frames are refused until there is."""

    code = "journal_full"
    retriable = True


class SyncFailed(JournalError):
    """fdatasync failed: what the disk holds is unknown, so the process must end."""

    code = "sync_failed"
    exit_code = 70


class JournalGone(JournalError):
    """A place in the journal is no longer kept: whoever stands there goes on from a snapshot."""

    code = "journal_gone"


class SnapshotUnusable(JournalError):
    """A snapshot is damaged, of another layout, or does not fit its journal. Names the file and what is wrong."""

    code = "snapshot_unusable"


class WitnessMismatch(JournalError):
    """A follower's results differ from the engine's. Names the position and both values."""

    code = "witness_mismatch"


class SweepMismatch(GodarkError):
    """The sweep by rooms and the sweep of everyone mark different units. The risk process ends: it may not go on
    proposing, nor staying silent, on rooms that are wrong."""

    code = "sweep_mismatch"
    exit_code = 70


class SchemaUnknown(JournalError):
    """A frame has a template or schema version this build does not know."""

    code = "schema_unknown"


class TransportFault(GodarkError):
    """A peer broke the session protocol; `code_name` is the fault's name in the SBE schema."""

    code = "transport_fault"
    exit_code = 4

    def __init__(self, code_name: str, message: str, **context: object) -> None:
        super().__init__(f"{code_name}: {message}", code_name=code_name, **context)
        self.code_name = code_name


class ConnectionLost(GodarkError):
    """A peer went away or did not answer in time."""

    code = "connection_lost"
    retriable = True
    exit_code = 4


class LostData(GodarkError):
    """The other side remembers more than we hold: something durable was lost."""

    code = "lost_data"
    exit_code = 70


class InvariantBroken(GodarkError):
    """An identity of the money rules does not hold. Names which number differs."""

    code = "invariant"
    exit_code = 71


class ChecksFailed(GodarkError):
    """A run ended, and at least one of its checks is false."""

    code = "checks_failed"
    exit_code = 5


class ProcessFailed(GodarkError):
    """A process of the group did not start or could not be kept alive."""

    code = "process_failed"
    exit_code = 6


class RpcError(GodarkError):
    """Base of everything that can go wrong between us and an RPC node."""

    code = "rpc"
    exit_code = 7


class RpcUnavailable(RpcError):
    """No answer, or one that says: later (time-out, 429, node behind). What was sent may have landed."""

    code = "rpc_unavailable"
    retriable = True


class RpcMalformed(RpcError):
    """The answer is not JSON-RPC. What was sent may have landed."""

    code = "rpc_malformed"
    retriable = True


class RpcRefused(RpcError):
    """The node answered with an error that repeating the call will not mend."""

    code = "rpc_refused"


class TransactionRejected(RpcError):
    """The node did not accept a transaction; `reason` is the node's name for it.

    `resend_same`: the same bytes may yet land, so they may be sent again until they expire. `err` is the
    node's error value, or None where it gave none.
    """

    code = "transaction_rejected"

    def __init__(
        self, message: str, *, reason: str, resend_same: bool = False, err: object = None, **context: object
    ) -> None:
        super().__init__(message, reason=reason, err=err, **context)
        self.reason = reason
        self.resend_same = resend_same
        self.err = err


class MessageInvalid(GodarkError):
    """A transaction cannot be built, or cannot be read as what it should be."""

    code = "message_invalid"


class MessageTooLarge(MessageInvalid):
    """A transaction would not fit a packet. Raised before anything is signed."""

    code = "message_too_large"


class StoreError(GodarkError):
    """The relayer's durable record cannot be opened or contradicts the journal."""

    code = "store"
    exit_code = 3


class StoreFull(StoreError):
    """The disk has no room for what must be recorded; the process begins again when there is."""

    code = "store_full"
    retriable = True


class ProofInvalid(GodarkError):
    """A Merkle proof does not verify."""

    code = "proof_invalid"
    exit_code = 5


class ProofFileInvalid(GodarkError):
    """A proof file is not in the form it must have. Names the member and the rule."""

    code = "proof_file_invalid"
    exit_code = 5


class CheckpointInvalid(GodarkError):
    """A checkpoint is not in the form it must have. Names the line or field and the rule."""

    code = "checkpoint_invalid"
    exit_code = 5


class NoteInvalid(GodarkError):
    """A signed note is not in the form it must have, or is not signed by whom it should be."""

    code = "note_invalid"
    exit_code = 5


class LogDamaged(GodarkError):
    """The published log is not what was signed: a file is missing, cut or changed. Names shard, file and size."""

    code = "log_damaged"
    exit_code = 3


class LogSplit(GodarkError):
    """Two signed checkpoints of one log contradict each other: of one size with two roots, or not consistent."""

    code = "log_split"
    exit_code = 71


class MirrorDiffers(GodarkError):
    """pymerkle's root over the mirrored leaves is not the signed one. Names log, size and both roots."""

    code = "mirror_differs"
    exit_code = 71


class PayloadInvalid(GodarkError):
    """A memo read back from the chain is not one of ours."""

    code = "payload_invalid"


class LinkError(GodarkError):
    """An object cannot become a program of the chain. Its context: `reason`, one word, and `place` in the code."""

    code = "link"
