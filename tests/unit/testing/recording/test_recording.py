"""What was recorded on an ensemble replays without it, and says where a client asks otherwise."""

import threading
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NodeExistsError, RuntimeInconsistency
from kazoo.handlers.threading import KazooTimeoutError

from tests.support.states import States
from tests.support.waiting import WAIT_S
from zoolet.testing import EmbeddedServer, Recorder, RecordingError, Replay
from zoolet.testing.recording.recording import read_recording
from zoolet.testing.servers.base import ADDRESS, ManagedServer


def started(hosts: str) -> Any:
    client = KazooClient(hosts=hosts)
    client.start()
    return client


def ended(*clients: Any) -> None:
    for client in clients:
        client.stop()
        client.close()


def work(hosts: str) -> list[object]:
    """Do what code does that uses ZooKeeper; return what it saw."""
    seen: list[object] = []
    one, two = started(hosts), started(hosts)
    one.add_auth("digest", "ann:secret")
    one.ensure_path("/app/config")
    one.set("/app/config", b"first")
    has_changed = threading.Event()
    seen.append(two.get("/app/config", watch=lambda _: has_changed.set()))
    with one.Lock("/app/lock", "one"):
        seen.append(one.Lock("/app/lock").contenders())
        one.set("/app/config", b"second")
    assert has_changed.wait(WAIT_S)
    seen.append(two.get("/app/config"))
    made = [two.create_async("/app/s-", sequence=True) for _ in range(3)]
    seen.append([each.get() for each in made])
    try:
        one.create("/app")
    except NodeExistsError as error:
        seen.append(type(error))
    seen.append(sorted(one.get_children("/app")))
    ended(one, two)
    return seen


def record(server: ManagedServer, path: Path) -> list[object]:
    with Recorder(server.hosts, path) as recorder:
        return work(recorder.hosts)


@pytest.fixture
def recorded(zookeeper: EmbeddedServer, tmp_path: Path) -> tuple[Path, list[object]]:
    path = tmp_path / "recordings" / "work.jsonl"
    return path, record(zookeeper, path)


def test_a_recording_replays_without_the_ensemble(
    zookeeper: EmbeddedServer, recorded: tuple[Path, list[object]]
) -> None:
    path, seen = recorded
    zookeeper.stop()
    for _ in range(3):
        with Replay(path) as replay:
            assert work(replay.hosts) == seen
    zookeeper.start()


def test_what_was_recorded_on_apache_replays(apache: Any, tmp_path: Path) -> None:
    path = tmp_path / "apache.jsonl"
    seen = record(apache, path)
    apache.kill()
    with Replay(path) as replay:
        assert work(replay.hosts) == seen


def test_a_recording_can_be_read_and_holds_no_secrets(
    recorded: tuple[Path, list[object]], zookeeper: EmbeddedServer
) -> None:
    path, _ = recorded
    frames = read_recording(path)
    whats = [frame.what for frame in frames]
    assert whats[0] == "connect"
    assert whats[1] == "connected"
    for what in ("AUTH", "CREATE /app", "SET_DATA /app/config", "CLOSE_SESSION", "closed"):
        assert what in whats
    assert any(what.startswith("watch event, zxid 0x") for what in whats)
    assert any(what.startswith("NODE_EXISTS, zxid 0x") for what in whats)
    assert not any("PING" in what for what in whats)
    contents = b"".join(frame.content or b"" for frame in frames)
    assert b"secret" not in contents
    (session_id, *_) = {each.session_id for each in zookeeper.inside.requests()}
    assert session_id.to_bytes(8, "big") in contents


def test_what_was_not_recorded_is_refused_and_told(recorded: tuple[Path, list[object]]) -> None:
    path, _ = recorded

    def ask_otherwise() -> None:
        with Replay(path) as replay:
            one, two = started(replay.hosts), started(replay.hosts)
            with pytest.raises(RuntimeInconsistency):
                one.get("/other")
            ended(one, two)

    with pytest.raises(AssertionError, match="request 1 was GET_DATA /other; recorded was AUTH"):
        ask_otherwise()


def test_what_did_not_come_is_told(recorded: tuple[Path, list[object]]) -> None:
    path, _ = recorded
    replay = Replay(path)
    with pytest.raises(AssertionError, match=r"\d+ recorded requests did not come.*: connect"):
        replay.assert_finished()


def test_more_connections_than_recorded_are_told(tmp_path: Path, zookeeper: EmbeddedServer) -> None:
    path = tmp_path / "one.jsonl"
    with Recorder(zookeeper.hosts, path) as recorder:
        ended(started(recorder.hosts))

    def connect_twice() -> None:
        with Replay(path) as replay:
            ended(started(replay.hosts))
            extra = KazooClient(hosts=replay.hosts)
            with pytest.raises(KazooTimeoutError):
                extra.start(timeout=0.1)
            ended(extra)

    with pytest.raises(AssertionError, match="connection 2 was opened, but it was not recorded"):
        connect_twice()


def test_a_lost_session_replays(tmp_path: Path, zookeeper: EmbeddedServer) -> None:
    path = tmp_path / "lost.jsonl"

    def lose(hosts: str, expire: Any) -> list[str]:
        client = started(hosts)
        states = States(client)
        client.create("/e", ephemeral=True)
        expire(client)
        states.wait_for("LOST", "CONNECTED")
        assert client.exists("/e") is None
        seen = list(states.seen)
        ended(client)
        return seen

    with Recorder(zookeeper.hosts, path) as recorder:
        seen = lose(recorder.hosts, zookeeper.faults.expire)
    with Replay(path) as replay:
        assert lose(replay.hosts, lambda _: None) == seen
    assert seen == ["SUSPENDED", "LOST", "CONNECTED"]


def test_the_first_member_that_lets_connect_is_recorded(
    tmp_path: Path, zookeeper: EmbeddedServer
) -> None:
    path = tmp_path / "members.jsonl"
    with Recorder(f"{ADDRESS}:1,{zookeeper.hosts}/chroot", path) as recorder:
        ended(started(recorder.hosts))
    assert len(read_recording(path)) >= 4
    with Recorder(f"{ADDRESS}:1", path) as recorder:
        client = KazooClient(hosts=recorder.hosts)
        with pytest.raises(KazooTimeoutError):
            client.start(timeout=0.1)
        ended(client)


def test_what_is_no_recording_is_said(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"recording .* does not exist.*--zookeeper-record"):
        Replay(tmp_path / "missing.jsonl")
    for line in ("{", "{}", "5", '{"connection":1,"from":"client","what":"","content":"?"}'):
        path = tmp_path / "garbage.jsonl"
        path.write_text(f"{line}\n")
        with pytest.raises(RecordingError, match=r"garbage\.jsonl:1: this line is not"):
            Replay(path)
    with pytest.raises(RecordingError, match="write HOST:PORT"):
        Recorder("host:port", tmp_path / "a")


def test_a_test_is_recorded_and_replayed(
    pytester: pytest.Pytester, zookeeper: EmbeddedServer
) -> None:
    pytester.makepyfile(
        """
        import pytest
        from kazoo.client import KazooClient

        @pytest.mark.parametrize("name", ["a/b", "c"])
        def test_it(zookeeper_recorded, name):
            client = KazooClient(hosts=zookeeper_recorded.hosts)
            client.start()
            assert client.create("/s-", sequence=True) in ("/s-0000000000", "/s-0000000001")
            client.stop()
            client.close()
        """
    )
    clean = ("-W", "error", "-p", "no:cacheprovider")
    pytester.runpytest_subprocess(*clean).assert_outcomes(errors=2)
    record_it = f"--zookeeper-record={zookeeper.hosts}"
    pytester.runpytest_subprocess(*clean, record_it).assert_outcomes(passed=2)
    zookeeper.stop()
    pytester.runpytest_subprocess(*clean).assert_outcomes(passed=2)
    zookeeper.start()


def test_no_two_tests_have_one_recording(
    pytester: pytest.Pytester, zookeeper: EmbeddedServer
) -> None:
    """Each test creates another znode; a recording of another test would not fit."""
    pytester.makepyfile(
        """
        import pytest
        from kazoo.client import KazooClient

        def create(hosts, path):
            client = KazooClient(hosts=hosts)
            client.start()
            client.ensure_path(path)
            client.stop()
            client.close()

        @pytest.mark.parametrize("name", ["a/b", "a b", "a-b", "a:b", "a" * 300, "a" * 299])
        def test_x(zookeeper_recorded, name):
            create(zookeeper_recorded.hosts, f"/x{len(name)}{ord(name[1])}")

        class TestOne:
            def test_y(self, zookeeper_recorded):
                create(zookeeper_recorded.hosts, "/one")

        class TestTwo:
            def test_y(self, zookeeper_recorded):
                create(zookeeper_recorded.hosts, "/two")

        def test_y(zookeeper_recorded):
            create(zookeeper_recorded.hosts, "/none")
        """
    )
    clean = ("-W", "error", "-p", "no:cacheprovider")
    record_it = f"--zookeeper-record={zookeeper.hosts}"
    pytester.runpytest_subprocess(*clean, record_it).assert_outcomes(passed=9)
    names = sorted(path.name for path in (pytester.path / "recordings").iterdir())
    assert len(names) == 9
    module = pytester.path.name.rstrip("0")
    assert f"{module}.test_y.jsonl" in names
    zookeeper.stop()
    pytester.runpytest_subprocess(*clean, "-p", "xdist", "-n", "2").assert_outcomes(passed=9)
    zookeeper.start()


@pytest.mark.parametrize(
    ("test", "former"),
    [
        (
            "@pytest.mark.parametrize('n', ['a/b'])\ndef test_it(zookeeper_recorded, n): ...",
            "-a-b-",
        ),
        ("class TestOne:\n    def test_it(self, zookeeper_recorded): ...", ""),
        ("def test_it(zookeeper_recorded): ...", ""),
    ],
)
def test_recordings_of_earlier_releases_are_found(
    pytester: pytest.Pytester, test: str, former: str
) -> None:
    path = pytester.makepyfile(f"import pytest\n\n{test}\n")
    recordings = pytester.path / "recordings"
    recordings.mkdir()
    (recordings / f"{path.stem}.test_it{former}.jsonl").write_text("")
    clean = ("-W", "error", "-p", "no:cacheprovider")
    pytester.runpytest_subprocess(*clean).assert_outcomes(passed=1)
