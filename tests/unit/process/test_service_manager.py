"""Which variables of systemd mean what, and that they are not for child processes."""

import asyncio
import socket
from pathlib import Path

import pytest

from tests.support.notify import ServiceManager as Listener
from zoolet.process.service_manager import ServiceManager

PID = 77


@pytest.mark.parametrize(
    ("variables", "interval_s"),
    [
        ({}, None),
        ({"NOTIFY_SOCKET": "/run/n"}, None),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "30000000"}, 15.0),
        ({"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "3", "WATCHDOG_PID": str(PID)}, 1.5e-6),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "78"}, None),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "0"}, None),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "-1"}, None),
        ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "soon"}, None),
        ({"NOTIFY_SOCKET": "vsock:2:5", "WATCHDOG_USEC": "30000000"}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(PID)}, None),
    ],
)
def test_variables(variables: dict[str, str], interval_s: float | None) -> None:
    environment = {**variables, "PATH": "/bin"}
    assert ServiceManager.take(environment, PID).watchdog_interval_s == interval_s
    assert environment == {"PATH": "/bin"}


@pytest.mark.parametrize("is_abstract", [False, True])
def test_reports(tmp_path: Path, is_abstract: bool) -> None:
    listener = Listener(tmp_path, is_abstract=is_abstract)
    manager = ServiceManager(listener.variable)
    asyncio.run(manager.report_running("serves\n/a"))
    manager.report_stopping()
    manager.report_failed("the disk is full\nREADY=1")
    assert [listener.receive() for _ in range(3)] == [
        {"READY": "1", "STATUS": "serves /a"},
        {"STOPPING": "1", "STATUS": "stopping"},
        {"STATUS": "the disk is full READY=1"},
    ]
    manager.close()
    listener.close()


def test_a_full_queue_delays_a_report_and_nothing_else(tmp_path: Path) -> None:
    listener = Listener(tmp_path)
    count = listener.fill()

    async def scenario() -> None:
        manager = ServiceManager(listener.variable)
        reporting = asyncio.create_task(manager.report_running("serves"))
        await asyncio.sleep(0)
        assert not reporting.done()
        for _ in range(count):
            assert listener.receive() == {"FILLING": "1"}
        await reporting
        manager.close()

    asyncio.run(scenario())
    assert listener.receive()["READY"] == "1"
    listener.close()


@pytest.mark.parametrize("kind", ["missing", "closed", "too long", "stream"])
def test_a_socket_that_refuses_is_logged_once(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    address = str(tmp_path / "notify")
    if kind == "too long":
        address += "x" * 200
    elif kind != "missing":
        socket_type = socket.SOCK_STREAM if kind == "stream" else socket.SOCK_DGRAM
        with socket.socket(socket.AF_UNIX, socket_type) as bound:
            bound.bind(address)
    manager = ServiceManager(address)
    asyncio.run(manager.report_running("serves"))
    manager.report_stopping()
    manager.close()
    (record,) = caplog.records
    assert "cannot be sent to NOTIFY_SOCKET" in record.message
