"""An archive as a source of states and txns.

Only content whose checksum was compared is used. Memory is needed for the state, and for one chunk
of an object besides.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Final

from zoolet.archive.errors import ArchiveError, DamagedObjectError
from zoolet.archive.format.clock_steps import is_step
from zoolet.archive.format.log_records import EncodedTxn
from zoolet.archive.format.names import SegmentName, SnapshotName, parse_name
from zoolet.archive.reading.source import AbandonedTxns, Found, MissingTxns, Source, is_before
from zoolet.archive.store.archive import Archive
from zoolet.archive.store.catalog import (
    Catalog,
    Line,
    MissingTxnsError,
    Plan,
    abandoned_text,
)
from zoolet.data.directory_reader import machine_with
from zoolet.data.json_form import show_time
from zoolet.model.txns import Txn
from zoolet.state_machine.machine import StateMachine
from zoolet.storage.recovery import AsOf, Recovery
from zoolet.storage.snapshot_parser import SnapshotParser
from zoolet.wire.jute import MalformedError
from zoolet.wire.txns import decode_txn

_LOST: Final = "objects are missing"


class ArchiveSource(Source):
    """The states and txns of an archive."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def state_at(self, as_of: AsOf) -> Recovery:
        """Return the state at a moment; see ``Source``.

        If a snapshot is damaged or cannot be used, an older one and more txns give the same state.
        The notes tell it. Raises ArchiveError if there is no such way.
        """
        recorded_ends = self._archive.recorded_ends()
        catalog = self._archive.catalog(needs_all=True)
        _check_end(catalog, recorded_ends, as_of)
        notes = _notes_about_end(catalog, as_of) + _notes_about_abandoned(catalog, as_of)
        problems: list[DamagedObjectError] = []
        for plan in catalog.plans(as_of.zxid, as_of.time_ms, int(time.time() * 1000)):
            try:
                recovery = self.recover(plan, as_of)
            except DamagedObjectError as error:
                problems.append(error)
            else:
                used = [f"{problem} An older snapshot is used." for problem in problems]
                return recovery._replace(notes=used + notes)
        raise ArchiveError(
            f"{problems[0]} The archive has no other objects for this state. {_advice(problems[0])}"
        ) from problems[0]

    def txns(self, since: AsOf, until: AsOf) -> Iterator[Found]:
        """Yield the txns of all timelines; see ``Source``."""
        recorded_ends = self._archive.recorded_ends()
        catalog = self._archive.catalog(needs_all=True)
        for found in self._txns_in(catalog, since, until):
            if isinstance(found, Txn) and not until.includes(found):
                if until.zxid is not None and found.header.zxid > until.zxid:
                    return
                continue
            yield found
        lost, end = catalog.lost_end(recorded_ends), catalog.end
        if lost is not None and end is not None:
            missing = MissingTxns(_LOST, lost.after_zxid, end.time_ms, lost.until_zxid, None)
            if _concerns(missing, since, until):
                yield missing

    def _txns_in(self, catalog: Catalog, since: AsOf, until: AsOf) -> Iterator[Found]:
        """Yield the txns of all timelines from ``since`` on, and where txns are missing."""
        gaps = {gap.timeline: gap for gap in catalog.gaps()}
        abandoned = {each.timeline: each for each in catalog.abandoned()}
        for position, line in enumerate(catalog.lines):
            if (gap := gaps.get(line.number)) is not None:
                before, after = gap.before, gap.after
                missing = MissingTxns(gap.reason.value, *before, *after)
                if _concerns(missing, since, until):
                    yield missing
            # If a leader cut its log, the txns after this point are not part of the history.
            following = catalog.lines[position + 1 :]
            last_zxid = min((each.timeline.base_zxid for each in following), default=None)
            for found in self._txns_of(line, since, until):
                if isinstance(found, Txn):
                    if last_zxid is not None and found.header.zxid > last_zxid:
                        break
                    if is_before(found, since):
                        continue
                yield found
            if (part := abandoned.get(line.number)) is not None and not (
                (since.zxid is not None and part.until_zxid < since.zxid)
                or (until.zxid is not None and part.after_zxid >= until.zxid)
            ):
                yield AbandonedTxns(part.after_zxid, part.until_zxid)

    # --- A state

    def recover(self, plan: Plan, as_of: AsOf) -> Recovery:
        """Return the state at a moment from the objects of one of its plans.

        Raises DamagedObjectError, and ArchiveError if this release cannot read a txn.
        """
        machine = self._read_snapshot(plan.snapshot)
        replayed = 0
        for at, segment in enumerate(plan.segments, 1):
            limit = as_of
            if any(is_step(segment.last_ms, later.first_ms) for later in plan.segments[at:]):
                limit = AsOf(zxid=as_of.zxid)  # the clock was ahead
            for encoded in self._archive.txns(segment):
                if not _includes(limit, encoded):
                    return Recovery(machine, replayed, plan.snapshot.zxid, [])
                if encoded.zxid > machine.zxid:  # segments may overlap
                    machine.apply(_decoded(encoded))
                    replayed += 1
        return Recovery(machine, replayed, plan.snapshot.zxid, [])

    def _read_snapshot(self, name: SnapshotName) -> StateMachine:
        parser = SnapshotParser()
        steps = parser.steps()
        try:
            for piece in self._archive.snapshot(name):
                parser.feed(piece)
                while next(steps, False):
                    pass
            parser.complete()
            for _ in steps:
                pass
        except MalformedError as error:
            raise DamagedObjectError(str(name), str(error)) from error
        if parser.zxid > name.zxid:
            raise DamagedObjectError(str(name), f"it contains the txn 0x{parser.zxid:x}")
        return machine_with(parser.tree, parser.sessions, name.zxid)

    # --- The history

    def _txns_of(self, line: Line, since: AsOf, until: AsOf) -> Iterator[Found]:
        """Yield the txns of a timeline from ``since`` on or earlier, and the missing ones."""
        timeline = line.timeline
        if timeline.txns_after > timeline.base_zxid:
            base = (timeline.base_zxid, timeline.time_ms)
            missing = MissingTxns("removed by retention", *base, timeline.txns_after, None)
            if _concerns(missing, since, until):
                yield missing
        holes = {hole.after_zxid: hole for hole in line.holes()}
        reached = timeline.txns_after
        while True:
            for segment in line.chain(reached):
                if not _ends_before(segment, since) and not _begins_after(segment, until):
                    for encoded in self._archive.txns(segment):
                        if encoded.zxid > reached:
                            yield _decoded(encoded)
                reached = segment.last_zxid
            hole = holes.get(reached)
            if hole is None:
                return
            missing = MissingTxns(_LOST, reached, None, hole.until_zxid, None)
            if _concerns(missing, since, until):
                yield missing
            reached = hole.until_zxid


def _includes(as_of: AsOf, encoded: EncodedTxn) -> bool:
    return (as_of.zxid is None or encoded.zxid <= as_of.zxid) and (
        as_of.time_ms is None or encoded.time_ms <= as_of.time_ms
    )


def _ends_before(segment: SegmentName, since: AsOf) -> bool:
    return (since.zxid is not None and segment.last_zxid < since.zxid) or (
        since.time_ms is not None and segment.last_ms < since.time_ms
    )


def _begins_after(segment: SegmentName, until: AsOf) -> bool:
    return until.time_ms is not None and segment.first_ms > until.time_ms


def _concerns(missing: MissingTxns, since: AsOf, until: AsOf) -> bool:
    """Return whether some of the missing txns may be between two moments."""
    return not (
        (since.zxid is not None and missing.before_zxid < since.zxid)
        or (until.zxid is not None and missing.after_zxid >= until.zxid)
        or (
            since.time_ms is not None
            and missing.before_ms is not None
            and missing.before_ms < since.time_ms
        )
        or (
            until.time_ms is not None
            and missing.after_ms is not None
            and missing.after_ms > until.time_ms
        )
    )


def _advice(error: DamagedObjectError) -> str:
    name = parse_name(error.name)
    if isinstance(name, SegmentName):
        return f"The last state before the damage: --as-of 0x{name.after_zxid:x}"
    return "Restore a later moment. To see all damage, run: zoolet archive check"


def _decoded(encoded: EncodedTxn) -> Txn:
    try:
        return decode_txn(encoded.payload)
    except MalformedError as error:
        raise ArchiveError(
            f"the archive has a txn 0x{encoded.zxid:x} that this release cannot read: {error}. Use"
            " the release of zoolet that wrote the archive."
        ) from error


def _check_end(catalog: Catalog, recorded_ends: Mapping[int, int], as_of: AsOf) -> None:
    """Raise MissingTxnsError if the moment may be after lost txns at the end."""
    lost, end = catalog.lost_end(recorded_ends), catalog.end
    if lost is None:
        return
    zxid, time_ms, _ = as_of
    if end is not None and (
        (zxid is not None and zxid <= end.zxid) or (time_ms is not None and time_ms < end.time_ms)
    ):
        return
    newest = "" if end is None else f" The newest state of the archive: --as-of 0x{end.zxid:x}."
    raise MissingTxnsError(
        f"the txns after zxid 0x{lost.after_zxid:x} up to 0x{lost.until_zxid:x} were archived in"
        f" timeline {lost.timeline}, but their objects do not exist.{newest} To see all damage,"
        " run: zoolet archive check"
    )


def _notes_about_abandoned(catalog: Catalog, as_of: AsOf) -> list[str]:
    """Return notes if a zxid is also one of txns that the server abandoned."""
    return [
        f"zxid 0x{as_of.zxid:x} is also in timeline {each.timeline}: when the server was set back,"
        f" {abandoned_text(each)}. The state is that of timeline {each.following} or a later one."
        for each in catalog.abandoned()
        if as_of.zxid is not None and each.after_zxid < as_of.zxid <= each.until_zxid
    ]


def _notes_about_end(catalog: Catalog, as_of: AsOf) -> list[str]:
    """Return a note if a time is after the last archived txn; raises ArchiveError for a zxid."""
    end = catalog.end
    if end is None:
        return []
    if as_of.zxid is not None and as_of.zxid > end.zxid:
        raise ArchiveError(
            f"the archive ends at zxid 0x{end.zxid:x}: zxid 0x{as_of.zxid:x} is not archived."
            + "".join(
                f" The server was set back: {abandoned_text(each)}."
                for each in catalog.abandoned()
                if each.after_zxid < as_of.zxid <= each.until_zxid
            )
        )
    if as_of.time_ms is not None and as_of.time_ms > end.time_ms:
        ending = f"zxid 0x{end.zxid:x} ({show_time(end.time_ms)})"
        return [f"the archive ends at {ending}. Later txns are not archived yet."]
    return []
