"""An archive: its identity, its catalog, and the contents of its objects as values."""

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from zoolet.archive.errors import ArchiveError, DamagedObjectError
from zoolet.archive.format.log_records import DamagedRecordError, EncodedTxn, split_records
from zoolet.archive.format.names import (
    IDENTITY,
    OWNERS,
    OwnerName,
    SegmentName,
    SnapshotName,
    TimelineName,
    parse_name,
)
from zoolet.archive.format.records import Identity, MalformedRecordError, Owner, Timeline
from zoolet.archive.store.catalog import Catalog
from zoolet.archive.store.store import Store

T = TypeVar("T")

_ID_BYTES = 8


class Archive:
    """The archive in a store. Its methods raise the errors of ``Store``."""

    def __init__(self, store: Store, identity: Identity) -> None:
        self.store = store
        self.identity = identity

    @classmethod
    def open(cls, store: Store) -> "Archive":
        """Return the archive in a store; raises ArchiveError if there is none."""
        if IDENTITY not in store.names(IDENTITY):
            raise ArchiveError(
                f"{store.url} is not an archive: it has no object {IDENTITY!r}. Correct the URL."
            )
        identity = _decoded(store, IDENTITY, Identity.decode)
        _check_key(store, identity)
        return cls(store, identity)

    @classmethod
    def open_or_create(cls, store: Store) -> "Archive":
        """Return the archive in a store; create it if the place is empty. Raises ArchiveError."""
        names = store.names()
        if IDENTITY not in names:
            if names:
                raise ArchiveError(
                    f"{store.url} is not empty and not an archive: it contains {names[0]!r}. Name"
                    " an empty or a new folder or prefix."
                )
            key_id = None if store.key is None else store.key.id
            identity = Identity(secrets.token_hex(_ID_BYTES), int(time.time() * 1000), key_id)
            with contextlib.suppress(FileExistsError):  # another archiver has just created it
                store.write(IDENTITY, [identity.encode()], replaces=False)
        return cls.open(store)

    def catalog(self, *, needs_all: bool = False) -> Catalog:
        """Return what the archive holds now.

        With ``needs_all``, raises DamagedObjectError if there are txns of a timeline without its
        object: the state at a time would be that of the end of an earlier timeline.
        """
        names = self.store.names()
        timelines = {
            parsed.number: self.timeline(parsed)
            for name in names
            if isinstance(parsed := parse_name(name), TimelineName)
        }
        for name in names if needs_all else ():
            segment = parse_name(name)
            if isinstance(segment, SegmentName) and segment.timeline not in timelines:
                raise DamagedObjectError(str(TimelineName(segment.timeline)), "it does not exist")
        return Catalog(names, timelines)

    def timeline(self, name: TimelineName) -> Timeline:
        """Return the content of a timeline's object."""
        return _decoded(self.store, str(name), Timeline.decode)

    def owner(self, name: str) -> Owner:
        """Return the content of an owner's object."""
        return _decoded(self.store, name, Owner.decode)

    def recorded_ends(self) -> dict[int, int]:
        """Return the last archived zxids by timeline, as the archivers have recorded them.

        An archiver records a zxid after it has written the segment. So a catalog that is read
        after this call has all these txns, or their objects were lost. Objects of archivers that
        are damaged or may not be read are ignored.
        """
        found: dict[int, int] = {}
        for name in self.store.names(OWNERS):
            if not isinstance(parse_name(name), OwnerName):
                continue
            try:
                owner = self.owner(name)
            except (ArchiveError, PermissionError):
                continue
            if owner.timeline:
                found[owner.timeline] = max(found.get(owner.timeline, 0), owner.last_zxid)
        return found

    def txns(self, segment: SegmentName) -> Iterator[EncodedTxn]:
        """Yield the txns of a segment; raises DamagedObjectError if they are not those."""
        name = str(segment)
        last = segment.after_zxid
        first_ms = last_ms = -1
        try:
            for txn in split_records(self.store.pieces(name)):
                if txn.zxid < last or (txn.zxid == segment.after_zxid):
                    raise DamagedObjectError(name, f"the txn 0x{txn.zxid:x} is out of order")
                last, last_ms = txn.zxid, txn.time_ms
                first_ms = txn.time_ms if first_ms == -1 else first_ms
                yield txn
        except DamagedRecordError as error:
            raise DamagedObjectError(name, str(error)) from error
        if (last, first_ms, last_ms) != (segment.last_zxid, segment.first_ms, segment.last_ms):
            raise DamagedObjectError(name, "its txns are not those that its name says")

    def snapshot(self, snapshot: SnapshotName) -> Iterator[bytes]:
        """Yield the content of a snapshot file (docs/formats/snapshot.md), not compressed."""
        return self.store.pieces(str(snapshot))


def _decoded(store: Store, name: str, decode: Callable[[bytes], T]) -> T:
    try:
        return decode(store.read(name))
    except MalformedRecordError as error:
        raise DamagedObjectError(name, str(error)) from error


def _check_key(store: Store, identity: Identity) -> None:
    key_id = None if store.key is None else store.key.id
    if identity.key_id == key_id:
        return
    if identity.key_id is None:
        raise ArchiveError(f"the archive {store.url} is not encrypted: do not give --key-file.")
    raise ArchiveError(
        f"the archive {store.url} is encrypted with the key {identity.key_id}. Give the file of"
        " this key: --key-file"
    )
