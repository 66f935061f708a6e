"""Logs of Apache ZooKeeper that contain txns again: the same state, or a refusal."""

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from random import Random

import pytest

from tests.support.writer import DISK, SESSION, Writer
from tests.unit.storage.test_recovery import assert_same
from zoolet.archive.writing.log_tail import Attached, LogTail, Position
from zoolet.data.checking import check, check_file
from zoolet.data.directory_reader import state_of, txns_in
from zoolet.data.toolkit import chop
from zoolet.ensemble.stopped_data import read_stopped_data
from zoolet.model import requests
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import ErrorCode, OpCode
from zoolet.model.owner_kinds import OwnerKind
from zoolet.model.txns import CreateTxn, ErrorTxn, MultiTxn, SubTxn, Txn, TxnHeader
from zoolet.state_machine.machine import StateMachine
from zoolet.storage.common_history import last_txn
from zoolet.storage.disk import Disk, ReadableFile
from zoolet.storage.errors import StorageError
from zoolet.storage.files import DataDirectories
from zoolet.storage.recovery import AsOf, recover
from zoolet.storage.replacement import truncate
from zoolet.storage.snapshots import Image, write_snapshot
from zoolet.storage.txn_log import LOG_HEADER_BYTES, encode_record, read_records
from zoolet.wire.txns import encode_txn

SEEDS = range(40)
NOTE = "passing over txns that"


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    """A directory whose log has txns of all kinds, also refused ones."""
    writer = Writer(tmp_path)
    write_some(writer, Random(1), 29)
    writer.create("/last")
    writer.log.roll()
    return writer


def write_some(writer: Writer, random: Random, count: int) -> None:
    for number in range(count):
        path = f"/{random.randrange(6)}"
        kind = random.randrange(5)
        if kind == 0:
            writer.change(OpCode.DELETE, requests.Delete(path, -1))
        elif kind == 1:
            writer.change(OpCode.SET_DATA, requests.SetData(path, b"%d" % number, -1))
        elif kind == 2:
            writer.change(OpCode.SET_ACL, requests.SetAcl(path, OPEN_ACL, -1))
        else:
            writer.create(path)


def records_in(path: Path) -> list[bytes]:
    with DISK.open(path) as log:
        return [encode_record(txn) for _, txn in read_records(path, log)]


def append(path: Path, records: Iterable[bytes]) -> None:
    path.write_bytes(path.read_bytes().rstrip(b"\0") + b"".join(records))


def refused(zxid: int, time_ms: int = 99) -> bytes:
    """Return a refused txn with this zxid."""
    header = TxnHeader(SESSION, 1, zxid, time_ms, OpCode.ERROR)
    return encode_record(Txn(header, ErrorTxn(ErrorCode.NO_NODE)))


def assert_passed_over(writer: Writer, directories: DataDirectories | None = None) -> None:
    """Check every reader of logs."""
    place = directories or writer.directories
    before = {path: path.read_bytes() for path in place.logs.glob("log.*")}
    recovery = recover(DISK, place, 100)
    assert_same(recovery.machine, writer.machine)
    assert [note for note in recovery.notes if note.startswith(NOTE)]
    assert before == {path: path.read_bytes() for path in place.logs.glob("log.*")}
    assert_same(read_stopped_data(DISK, place).machine, writer.machine)
    zxids = [txn.header.zxid for _, _, txn in txns_in(place)]
    assert zxids == sorted(set(zxids))
    assert zxids[-1] == writer.machine.zxid
    findings = list(check(place, lambda files: files))
    assert all(finding.is_sound for finding in findings), findings
    assert NOTE in findings[-1].text
    tail = LogTail(place)
    assert tail.attach(Position(0, 0, None)) is Attached.FOLLOWS
    assert [txn.zxid for txn in tail.read(1 << 30)] == zxids


def test_a_range_that_is_there_again_is_passed_over(writer: Writer) -> None:
    (log,) = writer.logs()
    append(log, records_in(log))
    assert_passed_over(writer)
    assert check_file(log).text == f"{log}: 31 txns, 0x1 to 0x1f, and 31 txns again"


def test_new_txns_may_follow(writer: Writer) -> None:
    (log,) = writer.logs()
    append(log, records_in(log)[5:20])
    write_some(writer, Random(2), 10)
    writer.create("/end")
    writer.log.roll()
    older, newer = writer.logs()
    append(older, records_in(newer))
    newer.unlink()
    assert_passed_over(writer)


def test_the_earlier_txns_may_be_in_an_older_log(writer: Writer) -> None:
    write_some(writer, Random(2), 10)
    writer.create("/end")
    writer.log.roll()
    older, newer = writer.logs()
    append(newer, records_in(older) + records_in(newer))
    assert_passed_over(writer)
    writer.snapshot()
    newer.write_bytes(newer.read_bytes())
    recovery = writer.recover()
    assert_same(recovery.machine, writer.machine)


def test_the_log_with_the_earlier_txns_may_be_purged(writer: Writer) -> None:
    write_snapshot(DISK, writer.directories.snapshots, Image.of(writer.machine))
    write_some(writer, Random(2), 10)
    writer.create("/end")
    writer.log.roll()
    older, newer = writer.logs()
    append(newer, records_in(older)[3:] + records_in(newer))
    older.unlink()
    (writer.directories.snapshots / "snapshot.0").unlink()
    recovery = writer.recover()
    assert_same(recovery.machine, writer.machine)
    assert recovery.notes == [f"{NOTE} {newer} contains again"]


def test_a_log_may_begin_with_txns_of_the_log_before(writer: Writer) -> None:
    (log,) = writer.logs()
    header, records = log.read_bytes()[:LOG_HEADER_BYTES], records_in(log)
    write_some(writer, Random(2), 5)
    writer.create("/end")
    writer.log.roll()
    newest = writer.logs()[-1]
    again = log.with_name("log.5")
    again.write_bytes(header + b"".join(records[4:]) + b"".join(records_in(newest)))
    newest.unlink()
    append(again, records_in(again))
    assert_passed_over(writer)


def test_a_torn_tail_may_end_a_repeated_range(writer: Writer) -> None:
    (log,) = writer.logs()
    records = records_in(log)
    append(log, [*records[:7], records[7][:-5]])
    kept = log.read_bytes()[: -len(records[7]) + 5]
    recovery = writer.recover()
    assert_same(recovery.machine, writer.machine)
    assert log.read_bytes() == kept
    assert_passed_over(writer)


def test_a_torn_tail_of_an_older_log_may_end_a_repeated_range(writer: Writer) -> None:
    (log,) = writer.logs()
    records = records_in(log)
    append(log, [*records[:7], records[7][:-5]])
    writer.create("/next")
    writer.log.roll()
    assert_passed_over(writer)


def test_a_txn_that_could_not_be_read_may_be_there_again(writer: Writer) -> None:
    """Apache gives it the zxid of the txn before it."""
    (log,) = writer.logs()
    records = records_in(log)
    unread = refused(31, time_ms=500)
    append(log, [unread, *records[20:], unread, refused(31, time_ms=501)])
    assert_same(writer.recover().machine, writer.machine)
    append(log, [*records[20:30], refused(30, time_ms=500)])
    with pytest.raises(StorageError, match="the txn 0x1e is out of order"):
        writer.recover()


def test_another_txn_with_the_same_zxid_is_refused(writer: Writer) -> None:
    (log,) = writer.logs()
    append(log, [*records_in(log)[:10], refused(11, time_ms=500)])
    before = log.read_bytes()
    with pytest.raises(StorageError, match="the txn 0xb is out of order: it comes after the txn"):
        writer.recover()
    with pytest.raises(StorageError, match="the txn 0xb is out of order"):
        list(txns_in(writer.directories))
    assert log.read_bytes() == before
    finding = list(check(writer.directories, lambda files: files))[-1]
    assert not finding.is_sound
    assert "--as-of 0x1f --to" in finding.text
    assert_same(state_of(writer.directories, AsOf(zxid=31)).machine, writer.machine)


def test_another_body_is_another_txn(writer: Writer) -> None:
    (log,) = writer.logs()
    with DISK.open(log) as opened:
        txns = [txn for _, txn in read_records(log, opened)]
    created = next(txn for txn in txns if isinstance(txn.body, CreateTxn))
    body = created.body
    assert isinstance(body, CreateTxn)
    other = CreateTxn(body.path, b"other", body.acl, body.kind, body.parent_cversion)
    append(log, [encode_record(Txn(created.header, other))])
    with pytest.raises(StorageError, match="no log has the same txn before it"):
        writer.recover()


def test_a_zxid_that_no_log_has_is_refused(writer: Writer) -> None:
    """The zxids of an epoch end anywhere, so 0x20 was never there."""
    writer.machine.zxid = 1 << 32
    writer.create("/next")
    writer.log.roll()
    append(writer.logs()[-1], [refused(32)])
    with pytest.raises(StorageError, match="the txn 0x20 is out of order"):
        writer.recover()


def test_another_log_with_the_same_zxids_is_refused(writer: Writer) -> None:
    (log,) = writer.logs()
    header = log.read_bytes()[:LOG_HEADER_BYTES]
    log.with_name("log.5").write_bytes(header + refused(5, time_ms=500))
    with pytest.raises(StorageError, match="the txn 0x5 is out of order"):
        writer.recover()


def test_a_refused_multi_is_the_same_in_both_forms(writer: Writer) -> None:
    """Apache changes the types of its parts when it applies it."""
    (log,) = writer.logs()
    header = TxnHeader(SESSION, 1, 32, 99, OpCode.MULTI)
    part: tuple[int, SubTxn] = (
        OpCode.CREATE.value,
        CreateTxn("/x", b"", OPEN_ACL, OwnerKind.NOBODY, 1),
    )
    failed: tuple[int, SubTxn] = (OpCode.ERROR.value, ErrorTxn(ErrorCode.NO_NODE))
    first = MultiTxn((part, failed))
    second = MultiTxn(((OpCode.ERROR.value, ErrorTxn(0)), failed))
    append(log, [encode_record(Txn(header, body)) for body in (first, second)])
    assert writer.recover().machine.zxid == 32


def test_a_log_is_cut_in_or_after_repeated_txns(writer: Writer) -> None:
    (log,) = writer.logs()
    records = records_in(log)
    append(log, records[10:20])
    path, kept = chop(log, log.read_bytes() + refused(32), 31)
    assert (records_in(path), kept) == (records + records[10:20], 41)


@pytest.mark.parametrize("zxid", [3, 8, 25, 31])
def test_a_truncation_removes_txns_from_every_log(writer: Writer, zxid: int) -> None:
    (log,) = writer.logs()
    header, records = log.read_bytes()[:LOG_HEADER_BYTES], records_in(log)
    expected = state_of(writer.directories, AsOf(zxid=zxid)).machine
    log.with_name("log.5").write_bytes(header + b"".join(records[4:] + records + records[4:]))
    truncate(DISK, writer.directories, zxid, 100)
    assert_same(writer.recover().machine, expected)
    assert max(txn.header.zxid for _, _, txn in txns_in(writer.directories)) == zxid


class CountingDisk(Disk):
    """Counts the opened files."""

    opened = 0

    def open(self, path: Path) -> ReadableFile:
        self.opened += 1
        return super().open(path)


def test_a_long_range_is_compared_in_one_pass(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    for _ in range(10_000):
        writer.change(OpCode.DELETE, requests.Delete("/missing", -1))
    writer.log.roll()
    (log,) = writer.logs()
    append(log, records_in(log) * 2)
    disk = CountingDisk()
    assert_same(recover(disk, writer.directories, 100).machine, writer.machine)
    # Recovery reads the log, looks at its end, and reads it once for each time it is there again.
    assert disk.opened == 4


# --- Random logs


class RandomLogs:
    """The same history in two directories: one has each txn once, the other one has some again."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.random = random = Random(seed)
        self.writer = Writer(directory / "once")
        self.again = DataDirectories.of(directory / "again")
        self.again.prepare(DISK)
        first = self.writer.directories.snapshots / "snapshot.0"
        (self.again.snapshots / first.name).write_bytes(first.read_bytes())
        self.snapshots: list[int] = []
        for _ in range(random.randrange(1, 5)):
            write_some(self.writer, random, random.randrange(1, 40))
            if random.random() < 0.3:
                path = self.writer.snapshot()
                (self.again.snapshots / path.name).write_bytes(path.read_bytes())
            if random.random() < 0.3:
                self.writer.log.roll()
                self.writer.machine.zxid = (self.writer.machine.zxid >> 32) + 1 << 32
        write_some(self.writer, random, 1)
        self.writer.log.roll()
        self.header = first_log_header(self.writer)
        self.records = [
            (txn.header.zxid, encode_record(txn)) for _, _, txn in txns_in(self.writer.directories)
        ]

    def order(self) -> list[int]:
        """Return the numbers of the records in the order in which they are written.

        A leader sends txns without a gap, so each range begins at or before the end of the last.
        """
        random, count = self.random, len(self.records)
        order: list[int] = []
        at = done = 0
        while done < count or random.random() < 0.5:
            end = random.randrange(at, count) + 1
            order += range(at, end)
            done = max(done, end)
            at = end if end < count and random.random() < 0.4 else random.randrange(end)
        return order

    def write(self, order: list[int]) -> None:
        names: set[str] = set()
        path = self.again.logs / "log.0"
        for place, number in enumerate(order):
            zxid, record = self.records[number]
            name = f"log.{zxid:x}"
            # Apache overwrites an existing log.
            may_begin = zxid > int(path.name[4:], 16) and name not in names
            # Recovery begins with one log, which then has all later txns.
            is_complete = len(self.records) - 1 in order[place:]
            if not place or (may_begin and is_complete and self.random.random() < 0.1):
                path = self.again.logs / name
                names.add(name)
                path.write_bytes(self.header)
            with path.open("ab") as file:
                file.write(record)

    def newest(self) -> Path:
        return max(self.again.logs.glob("log.*"), key=lambda path: int(path.name[4:], 16))


def first_log_header(writer: Writer) -> bytes:
    return writer.logs()[0].read_bytes()[:LOG_HEADER_BYTES]


@pytest.mark.parametrize("seed", SEEDS)
def test_random_repetitions_do_not_change_the_state(tmp_path: Path, seed: int) -> None:
    logs = RandomLogs(tmp_path, seed)
    order = logs.order()
    logs.write(order)
    if logs.random.random() < 0.5:
        begin = logs.random.randrange(len(logs.records))
        record = logs.records[begin][1]
        append(logs.newest(), [record[: logs.random.randrange(1, len(record))]])
    check_equal(logs)


def check_equal(logs: RandomLogs) -> None:
    once, again = logs.writer.directories, logs.again
    expected = [encode_txn(txn) for _, _, txn in txns_in(once)]
    found = [encode_txn(txn) for _, _, txn in txns_in(again)]
    # A refused txn with the last zxid may be another request, so it is never passed over.
    assert [payload for payload, _ in groupby(found)] == expected
    last_zxid = logs.records[-1][0]
    zxid = logs.random.choice(logs.records)[0]
    for as_of in (AsOf(zxid=zxid), AsOf(time_ms=99)):
        assert_same(state_of(again, as_of).machine, state_of(once, as_of).machine)
    archived = [txn.zxid for txn in LogTail(again).between(0, last_zxid)]
    assert archived == [each for each, _ in logs.records]
    findings = list(check(again, lambda files: files))
    assert findings[-1].is_sound, findings
    assert_same(recover(DISK, again, 100).machine, logs.writer.machine)
    assert last_txn(DISK, again, last_zxid).payload == last_txn(DISK, once, last_zxid).payload
    expected_state: StateMachine = state_of(once, AsOf(zxid=zxid)).machine
    assert_same(truncate(DISK, again, zxid, 100).machine, expected_state)
    assert_same(recover(DISK, again, 100).machine, expected_state)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_other_txn_is_refused(tmp_path: Path, seed: int) -> None:
    logs = RandomLogs(tmp_path, seed)
    order = logs.order()
    number = logs.random.randrange(len(logs.records))
    zxid = logs.records[number][0]
    logs.write([*order, *range(logs.random.randrange(number + 1), number)])
    append(logs.newest(), [refused(zxid, time_ms=500)])
    if zxid == logs.records[-1][0]:
        return  # it may be a request that Apache could not read
    before = {path: path.read_bytes() for path in logs.again.logs.iterdir()}
    with pytest.raises(StorageError, match=f"the txn 0x{zxid:x} is out of order"):
        list(txns_in(logs.again))
    if len(list(logs.again.snapshots.glob("snapshot.*"))) == 1:  # it needs all logs
        with pytest.raises(StorageError, match=f"the txn 0x{zxid:x} is out of order"):
            recover(DISK, logs.again, 100)
    assert before == {path: path.read_bytes() for path in logs.again.logs.iterdir()}
