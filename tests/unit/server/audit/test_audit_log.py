"""The audit log: what is lost, what stops the server, and what may wait."""

import os
import threading
from pathlib import Path

import pytest

from tests.support.audit import records_of
from tests.support.waiting import wait_until
from zoolet.server.audit import audit_log
from zoolet.server.audit.audit_log import AuditLog
from zoolet.server.audit.records import DELETE, SUCCESS, AuditRecord
from zoolet.server.common.clock import SYSTEM_CLOCK
from zoolet.server.common.errors import AuditError
from zoolet.server.common.stats import AuditCounts
from zoolet.server.zoo_cfg.config import AuditConfig

FULL = Path("/dev/full")


def opened(file: Path, *, stops: bool) -> tuple[AuditLog, AuditCounts]:
    config = AuditConfig(file, False, 1 << 20, 0, 3, 0o600, stops)
    counts = AuditCounts()
    return AuditLog(config, "root", counts, SYSTEM_CLOCK), counts


def records(count: int, path: str = "/a") -> list[AuditRecord]:
    return [AuditRecord(0, DELETE, SUCCESS, znode=f"{path}{number}") for number in range(count)]


@pytest.mark.parametrize("stops", [True, False])
def test_records_are_written_in_order(tmp_path: Path, *, stops: bool) -> None:
    log, counts = opened(tmp_path / "audit.log", stops=stops)
    log.write(records(3))
    log.write(records(5000, "/b"))
    log.close()
    found = [record["znode"] for record in records_of(tmp_path / "audit.log")]
    assert found == [f"/a{n}" for n in range(3)] + [f"/b{n}" for n in range(5000)]
    assert (counts.written, counts.lost) == (5003, 0)


def test_a_full_disk_stops_or_is_counted() -> None:
    log, counts = opened(FULL, stops=True)
    with pytest.raises(AuditError, match="/dev/full cannot be written: No space left on device"):
        log.write(records(1))
    log, counts = opened(FULL, stops=False)
    log.write(records(7))
    log.close()
    assert (counts.written, counts.lost) == (0, 7)


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "audit.log"
    with pytest.raises(AuditError, match="No such file or directory"):
        opened(path, stops=True)
    log, counts = opened(path, stops=False)
    log.write(records(2))
    wait_until(lambda: counts.lost == 2, "the loss")
    path.parent.mkdir()
    log.write(records(3))
    log.close()
    assert (counts.written, counts.lost) == (3, 2)
    assert len(records_of(path)) == 3


def test_a_slow_disk_gets_a_bounded_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe that nobody reads stands for a disk that does not respond."""
    monkeypatch.setattr(audit_log, "QUEUE_BYTES", 1 << 20)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    log, counts = opened(pipe, stops=False)
    total = 0
    while not counts.lost:
        log.write(records(1000))
        total += 1000
        assert total < 100_000
    reader = threading.Thread(target=pipe.read_bytes, daemon=True)
    reader.start()
    log.close()
    reader.join(30)
    assert counts.written + counts.lost == total


def test_the_lines_of_a_large_multi_are_not_in_memory_together(tmp_path: Path) -> None:
    log, _ = opened(tmp_path / "audit.log", stops=True)
    sizes = [len(lines) for lines, _ in log._chunks(records(1000, "/" + "x" * 1000))]
    assert len(sizes) > 10
    assert max(sizes) < 2 * audit_log.CHUNK_BYTES
