"""Who writes into an archive: at most one archiver.

The archiver with the greatest number is the owner. It rewrites its object regularly. A new archiver
does not start while the owner is alive. If an owner was only slow, it stops as soon as it sees a
greater number; txns that both wrote meanwhile are the same, so they do no harm.

Times are compared by the clock of the store: the clocks of two machines may differ.
"""

import os
import platform
import secrets
import threading
import time
from pathlib import Path
from typing import Final

from zoolet.archive.errors import ArchiveError, DamagedObjectError
from zoolet.archive.format.names import OWNERS, OwnerName, claim_name, parse_name
from zoolet.archive.format.records import Owner
from zoolet.archive.store.archive import Archive
from zoolet.archive.writing.status import log
from zoolet.process.pids import is_alive

BEAT_S: Final = 15.0
"""The time between two writes of the owner's object."""

ALIVE_S: Final = 60.0
"""An owner that was seen within this time is alive."""

_SURE_S: Final = 45.0
"""Before an upload, an owner that has not written its object for this time does so first."""

_KEPT_OWNERS: Final = 5


class LostOwnershipError(ArchiveError):
    """Another archiver writes into the archive now."""


class Ownership:
    """The right of this process to write into an archive."""

    def __init__(self, archive: Archive, number: int, owner: Owner) -> None:
        """Use ``take``."""
        self._archive = archive
        self._name = OwnerName(number)
        self._owner = owner
        self._lock = threading.Lock()
        self._seen_s = time.monotonic()
        self._lost: LostOwnershipError | None = None

    @classmethod
    def take(cls, archive: Archive) -> "Ownership":
        """Become the owner; raises ArchiveError if another archiver is alive, and OSError."""
        numbers = _numbers(archive)
        now_ms = int(time.time() * 1000)
        own_id, host = secrets.token_hex(8), platform.node()
        owner = Owner(own_id, host, machine(), os.getpid(), now_ms, now_ms)
        if numbers:
            _check_not_alive(archive, OwnerName(numbers[-1]), owner.id)
        number = numbers[-1] + 1 if numbers else 1
        try:
            archive.store.write(str(OwnerName(number)), [owner.encode()], replaces=False)
        except FileExistsError:
            raise ArchiveError(
                f"another archiver has just begun to write into {archive.store.url}. Stop one of"
                " them."
            ) from None
        for old in numbers[:-_KEPT_OWNERS]:
            archive.store.delete(str(OwnerName(old)))
        return cls(archive, number, owner)

    def check(self) -> None:
        """Raise LostOwnershipError if another archiver may be the owner; raises OSError."""
        if self._lost is not None:
            raise self._lost
        if time.monotonic() - self._seen_s > _SURE_S:
            self.refresh()

    def refresh(self) -> None:
        """Write the owner's object; raises LostOwnershipError and OSError."""
        with self._lock:
            newer = [each for each in _numbers(self._archive) if each > self._name.number]
            if newer:
                self._lost = LostOwnershipError(
                    f"another archiver writes into {self._archive.store.url} now"
                    f" ({OwnerName(newer[-1])}). This one stops: run only one archiver for an"
                    " archive."
                )
                raise self._lost
            began_s = time.monotonic()
            self._write()
            self._seen_s = began_s

    def reached(self, timeline: int, zxid: int) -> None:
        """Record the last archived txn; it is stored with the next ``refresh``."""
        with self._lock:
            self._owner = self._owner._replace(timeline=timeline, last_zxid=zxid)

    def release(self) -> None:
        """Record that this archiver has stopped; raises OSError."""
        with self._lock:
            self._owner = self._owner._replace(ended=True)
            self._write()

    def _write(self) -> None:
        self._owner = self._owner._replace(seen_ms=int(time.time() * 1000))
        self._archive.store.write(str(self._name), [self._owner.encode()])


def _numbers(archive: Archive) -> list[int]:
    parsed = [parse_name(name) for name in archive.store.names(OWNERS)]
    return sorted(each.number for each in parsed if isinstance(each, OwnerName))


def _check_not_alive(archive: Archive, name: OwnerName, own_id: str) -> None:
    """Raise ArchiveError if the owner with this name may be alive."""
    try:
        owner = archive.owner(str(name))
    except DamagedObjectError as error:
        log.warning("%s It is ignored, except for its time.", error)
        who = "an unknown archiver"
    else:
        if owner.ended or _is_dead_here(owner):
            return
        who = f"the archiver on {owner.host!r} with the process id {owner.pid}"
    # The store's clock at this moment is the time of an object that is written now.
    claim = claim_name(own_id)
    archive.store.write(claim, [b"{}"])
    try:
        age_s = (archive.store.modified_ms(claim) - archive.store.modified_ms(str(name))) / 1000
    finally:
        archive.store.delete(claim)
    if age_s < ALIVE_S:
        raise ArchiveError(
            f"{who} wrote into {archive.store.url} {max(0.0, age_s):.0f} s ago. Stop it first; if"
            f" it does not run any more, start again in {ALIVE_S:.0f} s."
        )


def _is_dead_here(owner: Owner) -> bool:
    """Return whether the owner was a process of this machine that does not run any more."""
    here = (platform.node(), machine())
    if not owner.machine or (owner.host, owner.machine) != here:
        return False
    return owner.pid == os.getpid() or not is_alive(owner.pid)


def machine() -> str:
    """Return a text that only processes of this machine, or of this container, have in common.

    Two machines may have the same host name. "" if the system has no such text.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""
