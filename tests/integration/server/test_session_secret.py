"""zoolet.sessionSecret: passwords of sessions that nobody can compute without it."""

import logging
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.rawclient import Connected, RawClient
from zoolet.server.common.errors import ConfigError
from zoolet.server.zoo_cfg.reading import parse_config
from zoolet.state_machine.sessions import password_of
from zoolet.testing import ServerProcess

SECRET = "6d1c2a0e-secret-of-this-test"
TIMEOUT_MS = 20_000


def settings(secret: str = SECRET) -> Mapping[str, object]:
    return {"zoolet.sessionSecret": secret, "4lw.commands.whitelist": "*"}


def open_session(server: ServerProcess) -> Connected:
    with RawClient(server.port) as raw:
        return raw.connect(TIMEOUT_MS)


def resumes(server: ServerProcess, session_id: int, password: bytes) -> bool:
    with RawClient(server.port) as raw:
        return raw.connect(TIMEOUT_MS, session_id, password).session_id == session_id


def test_only_the_password_that_the_server_gave_resumes_a_session(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, settings()) as server:
        session = open_session(server)
        guesses = [password_of(session.session_id), b"", bytes(16), session.password[:15]]
        guesses.append(password_of(session.session_id + 1, SECRET.encode()))
        for guess in guesses:
            assert not resumes(server, session.session_id, guess)
        assert resumes(server, session.session_id, session.password)


@pytest.mark.parametrize(
    ("before", "after", "survives"),
    [
        (SECRET, SECRET, True),
        (SECRET, "another secret of this test", False),
        (SECRET, "", False),
        ("", SECRET, False),
        ("", "", True),
    ],
)
def test_a_session_survives_a_restart_with_the_same_secret_alone(
    tmp_path: Path, before: str, after: str, survives: bool
) -> None:
    with ServerProcess(tmp_path, settings(before)) as server:
        session = open_session(server)
    with ServerProcess(tmp_path, settings(after)) as server:
        assert resumes(server, session.session_id, session.password) is survives


def test_the_secret_is_never_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with ServerProcess(tmp_path, settings()) as server:
        open_session(server)
        shown = server.ask("conf") + server.ask("envi") + server.log
    assert "zoolet.sessionSecret" in server.config.text
    with caplog.at_level(logging.DEBUG):
        shown += server.config.text + repr(server.config) + caplog.text
    assert SECRET not in shown


def test_a_short_secret_refuses_the_start_and_is_not_shown() -> None:
    with pytest.raises(ConfigError, match="too short") as refused:
        parse_config("dataDir=/d\nclientPort=2181\nzoolet.sessionSecret=hunter2\n", Path("zoo.cfg"))
    assert "zoo.cfg:3" in str(refused.value)
    assert "hunter2" not in str(refused.value)
