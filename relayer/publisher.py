"""Publishing: what a batch adds to the log is on disk, then signed, then recorded, then announced; then it is sent.

A checkpoint is signed only if the log extends whatever was signed before, by our own proof. What was signed binds:
at every start the published files must lead to every root that the record has, and the folder's own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, NoReturn

from engine.common.errors import CheckpointInvalid, LogDamaged, LogSplit, NoteInvalid, ProofInvalid
from kernels.sha256 import HashPath
from relayer.core.checkpoint import Checkpoint, encode_text
from relayer.core.log import SHARD_LEAVES
from relayer.core.note import NoteSigner, read_checkpoint, sign, verifier_key
from relayer.core.proofs import consistency_proof, verify_consistency
from relayer.core.rfc9162 import EMPTY_ROOT
from relayer.core.shards import Growth, Shards, place_of
from relayer.core.tile_log import TileLog
from relayer.core.tiles import CHECKPOINT
from relayer.published import LogFolder, PublishedLog, shards_in
from relayer.restore import Restored
from relayer.store import Signed, Store

LOG = "log"
VERIFIER_KEY = "verifier-key"


class Head(NamedTuple):
    """The newest that was signed of a shard."""

    size: int = 0
    root: bytes = EMPTY_ROOT


class Publisher:
    """Keeps the folder of every shard below `directory`, and signs. origin: the log's name; of shard k, origin/k.

    `begin` comes first, `write` and `announce` in turns. LogDamaged, LogSplit: nothing is signed any more;
    StoreFull, StoreError: the disk; see `LogFolder`.
    """

    def __init__(
        self, directory: Path, signer: NoteSigner, origin: str, *, shard_leaves: int = SHARD_LEAVES
    ) -> None:
        self._directory, self._signer, self._origin = directory, signer, origin
        self._shard_leaves = shard_leaves
        self._heads: defaultdict[int, Head] = defaultdict(Head)
        self._announced: dict[int, int] = {}
        self._folders: dict[int, LogFolder] = {}
        self._tiles: dict[int, TileLog] = {}
        self._written: list[Growth] = []

    def begin(self, store: Store, path: HashPath | None = None) -> Shards:
        """Check all that is published of the shards that are not closed for good; the log as of the resume point.

        What was signed and not announced is announced. Reads every file of those shards.
        """
        point = store.resume_point()
        place = place_of(point.log_size if point else 0, self._shard_leaves)
        signed: defaultdict[int, list[Signed]] = defaultdict(list)
        for row in store.checkpoints(place.shard):
            signed[row.shard].append(row)
        found = [shard for shard in shards_in(self._directory) if shard >= place.shard]
        begun: Shards | None = None
        for shard in sorted({place.shard, *signed, *found}):
            restored = self._restore(shard, signed[shard], path)
            if shard == place.shard:
                begun = self._shards(restored, shard, place.leaves, path)
        if begun is None:
            raise AssertionError("the shard of the resume point was not restored")
        return begun

    def write(self, batches: Iterable[tuple[int, Growth]]) -> list[Signed]:
        """Make durable what these batches add, in order, and sign each. Touches nothing but the folders."""
        growths: dict[int, list[Growth]] = {}
        heads = dict(self._heads)
        signed = []
        for batch, growth in batches:
            head = heads.get(growth.shard, Head())
            root = growth.log.root(growth.after)
            if growth.after <= head.size:
                self._check_known(head, growth, root)
            else:
                self._check_extends(head, growth, root)
                growths.setdefault(growth.shard, []).append(growth)
                heads[growth.shard] = Head(growth.after, root)
            signed.append(Signed(batch, growth.shard, growth.after, root, b""))
        for shard, some in growths.items():
            self._folder(shard).write(some)
            self._written += some
        self._heads.update(heads)
        return [row._replace(note=self._sign(row)) for row in signed]

    def announce(self, signed: Iterable[Signed]) -> None:
        """Publish the newest of these checkpoints, which are recorded; then remove what nobody needs any more."""
        newest = {row.shard: row for row in signed}
        for shard, row in newest.items():
            if row.size > self._announced.get(shard, -1):
                self._folder(shard).publish(row.note)
                self._announced[shard] = row.size
        for growth in self._written:
            self._folder(growth.shard).tidy([growth])
        self._written.clear()

    def head(self, shard: int) -> Head:
        """The newest that was signed of a shard; size 0 where nothing was."""
        return self._heads.get(shard, Head())

    def origin_of(self, shard: int) -> str:
        """The name that a shard signs as, and has in its checkpoints."""
        return f"{self._origin}/{shard}"

    def _restore(self, shard: int, signed: list[Signed], path: HashPath | None) -> Restored:
        origin = self.origin_of(shard)
        roots: dict[int, bytes] = {}
        for row in signed:
            _add(roots, row.size, row.root, origin)
        folder = PublishedLog(self._directory / str(shard))
        announced = self._announced_in(folder, shard)
        if announced is not None:
            _add(roots, announced.size, announced.root, origin)
            self._announced[shard] = announced.size
        restored = Restored(folder, origin, roots, path)
        self._heads[shard] = Head(restored.size, restored.log.root())
        if restored.size:
            self._folder(shard).sweep(restored.size)
        self.announce(signed[-1:])
        return restored

    def _announced_in(self, folder: PublishedLog, shard: int) -> Checkpoint | None:
        """The checkpoint that the folder shows, ours; None: it shows none."""
        note = folder.note_if_any()
        if note is None:
            return None
        origin = self.origin_of(shard)
        try:
            return read_checkpoint(note, verifier_key(origin, self._signer))
        except (NoteInvalid, CheckpointInvalid) as error:
            raise LogDamaged(
                f"log {origin}: {CHECKPOINT}: {error.line()}; restore it and the log's key (relayer.log_keyfile)"
                " from a copy",
                log=origin,
                path=CHECKPOINT,
            ) from error

    def _shards(self, restored: Restored, shard: int, leaves: int, path: HashPath | None) -> Shards:
        if leaves > restored.size:
            raise LogDamaged(
                f"log {self.origin_of(shard)}: {restored.size} leaves are published, the relayer's record goes on"
                f" behind {leaves}; restore both from the same copy",
                size=restored.size,
            )
        tail = restored.tail(leaves)
        restored.log.cut(leaves)
        return Shards(restored.log, shard=shard, tail=tail, path=path, shard_leaves=self._shard_leaves)

    def _check_known(self, head: Head, growth: Growth, root: bytes) -> None:
        """LogSplit unless this size, which is behind us, has this root in what is published."""
        if growth.after == head.size:
            known = head.root
        elif not growth.after:
            known = EMPTY_ROOT
        else:
            known = self._tiles_of(growth.shard).root(growth.after)
        if known != root:
            _split(self.origin_of(growth.shard), growth.after, "another root was signed")

    def _tiles_of(self, shard: int) -> TileLog:
        """What was published of a shard before this start: sizes behind its head are asked for only until then."""
        if shard not in self._tiles:
            head = self._heads[shard]
            checkpoint = Checkpoint(self.origin_of(shard), head.size, head.root)
            self._tiles[shard] = PublishedLog(self._directory / str(shard)).at(checkpoint)
        return self._tiles[shard]

    def _check_extends(self, head: Head, growth: Growth, root: bytes) -> None:
        """LogSplit unless the log at the new size begins with what was signed before."""
        if not head.size:
            return
        proof = consistency_proof(growth.log, head.size, growth.after)
        try:
            verify_consistency(head.size, growth.after, head.root, root, proof)
        except ProofInvalid as error:
            _split(
                self.origin_of(growth.shard), growth.after, f"it does not extend that of {head.size}", error
            )

    def _sign(self, row: Signed) -> bytes:
        origin = self.origin_of(row.shard)
        return sign(encode_text(Checkpoint(origin, row.size, row.root)), origin, self._signer)

    def _folder(self, shard: int) -> LogFolder:
        """The folder of a shard, with the verifier key for those who have no better source."""
        if shard not in self._folders:
            folder = LogFolder(self._directory / str(shard))
            key = f"{verifier_key(self.origin_of(shard), self._signer)}\n".encode()
            if not folder.holds(VERIFIER_KEY, key):
                folder.put(VERIFIER_KEY, key)
            self._folders[shard] = folder
        return self._folders[shard]


def _add(roots: dict[int, bytes], size: int, root: bytes, origin: str) -> None:
    if roots.setdefault(size, root) != root:
        _split(origin, size, "it was signed with two roots")


def _split(origin: str, size: int, what: str, cause: Exception | None = None) -> NoReturn:
    raise LogSplit(f"log {origin}: checkpoint of {size} leaves: {what}", log=origin, size=size) from cause
