"""The observer's configuration: the ensemble's lines, a number of its own, no port for clients."""

from pathlib import Path

import pytest

from zoolet.archive.writing.members import (
    UnreachableError,
    known_lines,
    lines_of_file,
    lines_of_servers,
    observer_config,
)
from zoolet.server.common.errors import ConfigError
from zoolet.server.zoo_cfg.config import NO_CLIENTS

LINES = {"server.1": "a:2888:3888:participant", "server.200": "b:2888:3888:observer"}
SOURCE = Path("zoo.cfg")
ZOO_CFG = """\
tickTime=500
initLimit=7
syncLimit=3
dataDir=/var/lib/zookeeper
clientPort=2181
server.1=a:2888:3888;2181
server.2=b:2888:3888;2181
quorum.auth.enableSasl=true
quorum.auth.learnerRequireSasl=true
zoolet.quorumUsername=archiver
zoolet.quorumPassword=pass\\\\word
"""


def test_the_number_is_free_and_stays_the_same(tmp_path: Path) -> None:
    for _ in range(5):
        (tmp_path / "myid").unlink(missing_ok=True)
        config = observer_config(tmp_path, LINES, None, SOURCE)
        assert config.observer is not None
        assert config.observer.my_id >= 128
        assert config.observer.my_id not in {1, 200}
        again = observer_config(tmp_path, LINES, None, SOURCE)
        assert again.observer == config.observer
    (tmp_path / "myid").write_text("200\n")
    changed = observer_config(tmp_path, LINES, None, SOURCE)
    assert changed.observer is not None
    assert changed.observer.my_id != 200


def test_a_chosen_number_is_used_and_no_client_is_served(tmp_path: Path) -> None:
    config = observer_config(tmp_path, LINES, 77, SOURCE)
    assert config.observer is not None
    assert config.observer.my_id == 77
    assert config.client_port == NO_CLIENTS
    assert config.admin is None
    assert config.data_dir == tmp_path


def test_the_number_of_a_member_that_votes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="participant"):
        observer_config(tmp_path, LINES, 1, SOURCE)


def test_a_zoo_cfg_gives_the_settings_of_the_ensemble(tmp_path: Path) -> None:
    path = tmp_path / "zoo.cfg"
    path.write_text(ZOO_CFG)
    config = observer_config(tmp_path / "work", lines_of_file(path), None, path)
    observer = config.observer
    assert observer is not None
    assert sorted(observer.members) == [1, 2]
    assert (observer.init_limit_ms, observer.sync_limit_ms) == (3500, 1500)
    assert observer.login is not None
    assert observer.login.password == "pass\\word"
    assert config.data_dir == tmp_path / "work"


def test_without_an_answer_the_members_of_the_last_start_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = "zoolet.archive.writing.members.lines_of_servers"
    monkeypatch.setattr(place, lambda _hosts: LINES)
    assert known_lines("hosts", tmp_path) == LINES

    def unreachable(_hosts: str) -> dict[str, str]:
        raise UnreachableError("no server answers.")

    monkeypatch.setattr(place, unreachable)
    assert known_lines("hosts", tmp_path) == LINES
    with pytest.raises(UnreachableError):
        known_lines("other", tmp_path)


def test_a_server_that_does_not_answer_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoolet.archive.writing.members._CONNECT_TIMEOUT_S", 0.2)
    with pytest.raises(UnreachableError, match="--config"):
        lines_of_servers("127.0.0.1:1")


def test_the_zoo_cfg_of_a_standalone_server_gets_the_advice(tmp_path: Path) -> None:
    path = tmp_path / "zoo.cfg"
    path.write_text("tickTime=2000\ndataDir=data\nclientPort=2181\n")
    with pytest.raises(ConfigError, match=r"standalone server.* --from-dir"):
        lines_of_file(path)
