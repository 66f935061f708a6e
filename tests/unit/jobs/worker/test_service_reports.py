"""The reports of a worker's program: to the service manager, and in the status file."""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from tests.support.notify import ServiceManager as Receiver
from zoolet.jobs.worker.health import WorkerHealth
from zoolet.jobs.worker.service_reports import WRITE_EVERY_S, ServiceReports
from zoolet.jobs.worker.worker import Worker
from zoolet.process.service_manager import ServiceManager

Reports = Callable[..., ServiceReports]


class FakeWorker:
    """A worker whose health a test sets."""

    def __init__(self) -> None:
        self.now = WorkerHealth("ready", is_live=True, is_ready=True, worker="w")
        self.failure: BaseException | None = None

    def health(self) -> WorkerHealth:
        return self.now

    def tally(self) -> dict[str, float]:
        return {"successful": 7}


class Clock:
    """The clock of the reports."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    receiver = Receiver(tmp_path)
    yield receiver
    receiver.close()


@pytest.fixture
def reports_of(clock: Clock) -> Iterator[Callable[..., ServiceReports]]:
    """Return the reports of a worker; their socket is closed at the end."""
    managers: list[ServiceManager] = []

    def make(
        worker: FakeWorker,
        receiver: Receiver | None = None,
        file: Path | None = None,
        watchdog_s: float | None = None,
    ) -> ServiceReports:
        managers.append(ServiceManager("" if receiver is None else receiver.variable, watchdog_s))
        return ServiceReports(cast("Worker", worker), ["/jobs"], file, managers[-1], clock)

    yield make
    for manager in managers:
        manager.close()


def next_report(receiver: Receiver) -> dict[str, str]:
    """Return the next report; a mark shows that there is none."""
    receiver.mark()
    return receiver.receive()


def test_the_service_manager_learns_the_state_and_each_change(
    reports_of: Reports, receiver: Receiver
) -> None:
    worker = FakeWorker()
    reports = reports_of(worker, receiver)
    reports.look()
    assert receiver.receive() == {"READY": "1", "STATUS": "ready: /jobs"}
    reports.look()
    assert next_report(receiver) == {"MARK": "1"}
    worker.now = replace(worker.now, state="not ready", is_ready=False, reason="no server")
    reports.look()
    assert receiver.receive() == {"STATUS": "no server"}
    reports.stopping()
    assert receiver.receive() == {"STOPPING": "1", "STATUS": "stopping"}
    worker.failure = ValueError("an executor\nis broken")
    reports.ended()
    assert receiver.receive() == {"STATUS": "an executor is broken"}


def test_a_reload_ends_when_the_new_code_is_loaded(reports_of: Reports, receiver: Receiver) -> None:
    worker = FakeWorker()
    reports = reports_of(worker, receiver)
    reports.look()
    receiver.receive()
    reports.reloading()
    begun = receiver.receive()
    assert begun["RELOADING"] == "1"
    assert begun["MONOTONIC_USEC"].isdecimal()
    reports.look()
    assert next_report(receiver) == {"MARK": "1"}
    worker.now = replace(worker.now, reloads=1)
    reports.look()
    assert receiver.receive()["READY"] == "1"


def test_a_worker_that_is_not_live_sends_no_watchdog_report(
    reports_of: Reports, receiver: Receiver, clock: Clock
) -> None:
    worker = FakeWorker()
    reports = reports_of(worker, receiver, watchdog_s=5.0)
    reports.look()
    assert receiver.receive()["READY"] == "1"
    assert receiver.receive() == {"WATCHDOG": "1"}
    reports.look()
    clock.now += 5.0
    worker.now = replace(worker.now, is_live=False)
    reports.look()
    assert next_report(receiver) == {"MARK": "1"}
    worker.now = replace(worker.now, is_live=True)
    reports.look()
    assert receiver.receive() == {"WATCHDOG": "1"}


def test_the_status_file_has_the_last_health_and_is_replaced_as_a_whole(
    reports_of: Reports, tmp_path: Path, clock: Clock
) -> None:
    worker, file = FakeWorker(), tmp_path / "status.json"
    reports = reports_of(worker, file=file)
    reports.look()
    first = json.loads(file.read_text())
    assert first["is_ready"] is True
    assert first["successful"] == 7
    inode = file.stat().st_ino
    reports.look()
    assert file.stat().st_ino == inode, "nothing changed"
    clock.now += WRITE_EVERY_S
    reports.look()
    assert file.stat().st_ino != inode
    worker.now = replace(worker.now, state="ended", is_live=False, is_ready=False)
    reports.ended()
    assert json.loads(file.read_text())["state"] == "ended"
    assert [one.name for one in tmp_path.iterdir()] == ["status.json"]


def test_a_status_file_that_cannot_be_written_is_logged_one_time(
    reports_of: Reports, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    reports = reports_of(FakeWorker(), file=tmp_path / "missing" / "status.json")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            reports.look()
            clock.now += WRITE_EVERY_S
    assert len(caplog.records) == 1
    assert "cannot be written" in caplog.text
