"""What a client can cause as often as it wants is logged once, then counted."""

import ast
import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

import zoolet
from tests.support.stage import Stage, StageClient
from zoolet.model.codes import OpCode
from zoolet.server.connections.connection import Connection
from zoolet.server.connections.sending import MAX_UNREAD_BY_CLIENT_BYTES
from zoolet.wire.jute import INT, pack_buffer, pack_ustring

TIMES = 50
SERVER = Path(zoolet.__file__).parent / "server"


def null_sasl_token(client: StageClient) -> None:
    client.send(OpCode.SASL, INT.pack(-1))


def unread_replies(client: StageClient) -> None:
    client.connection.pause_writing()
    client.connection.send_long([bytes(MAX_UNREAD_BY_CLIENT_BYTES + 1)])


def long_frame(client: StageClient) -> None:
    client.socket += INT.pack(-1)


def short_request(client: StageClient) -> None:
    client.socket += INT.pack(4) + bytes(4)


def unknown_op_code(client: StageClient) -> None:
    client.send(4711)


def malformed_read(client: StageClient) -> None:
    client.send(OpCode.GET_DATA)


def malformed_write(client: StageClient) -> None:
    client.send(OpCode.CREATE)


def wrong_scheme(client: StageClient) -> None:
    client.send(OpCode.AUTH, INT.pack(0) + pack_ustring("none") + pack_buffer(b""))


@pytest.mark.parametrize(
    "offend",
    [
        null_sasl_token,
        unread_replies,
        long_frame,
        short_request,
        unknown_op_code,
        malformed_read,
        malformed_write,
        wrong_scheme,
    ],
)
def test_many_offences_are_one_line(
    caplog: pytest.LogCaptureFixture, offend: Callable[[StageClient], None]
) -> None:
    caplog.set_level(logging.INFO)
    stage = Stage()
    for _ in range(TIMES):
        offend(stage.client())
        stage.settle()
    assert len(caplog.messages) == 1
    stage.pass_ms(1000)
    offend(stage.client())
    stage.settle()
    assert len(caplog.messages) == 2
    assert f"({TIMES - 1} more of these messages were left out)" in caplog.messages[1]


@pytest.mark.parametrize("fault", [OSError(22, "Invalid argument"), ValueError("a fault")])
def test_many_connections_that_cannot_be_served_are_one_line(
    caplog: pytest.LogCaptureFixture, fault: Exception
) -> None:
    class BrokenTransport(asyncio.Transport):
        def get_extra_info(self, name: str, default: object = None) -> None:
            del name, default
            raise fault

        def abort(self) -> None:
            pass

    caplog.set_level(logging.INFO)
    stage = Stage()
    for _ in range(TIMES):
        Connection(stage.processor).connection_made(BrokenTransport())
    assert len(caplog.records) == 1
    assert bool(caplog.records[0].exc_info) == isinstance(fault, ValueError)


NOT_OF_CLIENTS = {
    "audit_log.py": "the end",
    "auditing.py": "the end",
    "certificates.py": "a change of a file with certificates",
    "changed_files.py": "reading changed files",
    "reloaded.py": "a change of certificates or users of operators",
    "users.py": "a change of a file of users",
    "backup.py": "an operator's restore, which has a rate limit of its own",
    "foreground.py": "the start",
    "endpoints.py": "the start",
    "failures.py": "the end",
    "following.py": "a new link to the leader",
    "link.py": "a new link to the leader, or its end",
    "logs.py": "SIGHUP",
    "observing.py": "the start",
    "own_database.py": "a new link to the leader",
    "restore.py": "an operator's restore",
    "running.py": "start and stop",
    "service.py": "start, disk",
    "service_manager.py": "the start",
    "snapshotter.py": "the disk",
}
"""Modules that may log without a limit, and what causes their messages."""

BOUNDED = {
    "session 0x%x expired after %d ms",
    "%d more sessions expired",
    "expiring session 0x%x before its timeout, as requested",
    "removing %s: it is an empty container, or its TTL has expired",
    "removed %d more empty containers and TTL znodes",
    "deleting the ephemerals of session 0x%x, which does not exist",
    "%s",
}
PIPELINE = {
    "changes.py",
    "local_sessions.py",
    "local_writes.py",
    "processor.py",
    "removal.py",
    "session_life.py",
}
"""Modules that log without LogLimiter what is BOUNDED: a few lines each tick, or limited there."""


def unlimited_messages() -> dict[str, set[str]]:
    """Return the messages of each module that go to the log without a limiter."""
    found: dict[str, set[str]] = {}
    for source in sorted(SERVER.rglob("*.py")):
        for node in ast.walk(ast.parse(source.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            logger = node.func.value
            if (
                isinstance(logger, ast.Name)
                and logger.id == "log"
                and node.func.attr != "debug"
                and isinstance(node.args[0], ast.Constant)
            ):
                found.setdefault(source.name, set()).add(str(node.args[0].value))
    return found


def test_only_messages_that_no_client_can_cause_at_will_have_no_limit() -> None:
    """If this fails, log through a LogLimiter, or say here why a client cannot cause it."""
    found = unlimited_messages()
    of_pipeline = [messages for name, messages in found.items() if name in PIPELINE]
    assert set().union(*of_pipeline) <= BOUNDED
    assert set(found) - PIPELINE <= set(NOT_OF_CLIENTS)
