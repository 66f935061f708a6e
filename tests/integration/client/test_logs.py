"""Each record of the log of a client has the id of its session."""

import logging

import pytest

from tests.support.both_clients import both, clients_of, run, until
from zoolet.client import SessionState
from zoolet.model.numbers import hex64
from zoolet.testing import EmbeddedServer


def records(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [one for one in caplog.records if one.name == "zoolet.client"]


@both
def test_each_record_has_the_id_of_the_session(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "zoolet.client")

    def fail(_: object) -> None:
        raise ValueError("a fault of the program")

    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts)
                client.add_listener(fail)
                old = client.session_id
                server.faults.expire(old.id)
                await until(lambda: client.session_id.id not in {old.id, 0}, "another session")
                await client.close()
                new = client.session_id
                ids = {f"0x{hex64(session.id)}" for session in (old, new)}
                assert {one.session_id for one in records(caplog)} == ids  # type: ignore[attr-defined]
                for record in records(caplog):
                    shown = record.session_id  # type: ignore[attr-defined]
                    assert record.getMessage().startswith(f"session {shown}: ")
                texts = [one.getMessage() for one in records(caplog)]
                for state in (SessionState.EXPIRED, SessionState.SUSPENDED):
                    assert f"session 0x{hex64(old.id)}: {state.value}" in texts
                assert f"session 0x{hex64(new.id)}: {SessionState.CLOSED.value}" in texts
                assert any("a function of the program failed" in text for text in texts)

    run(scenario())
