"""``zoolet mirror`` between real servers: what it copies, what it says, and when it ends."""

import contextlib
import shutil
import sqlite3
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mirrors import MirrorProcess, check_equal, run_here, tree_at
from tests.support.waiting import wait_until
from zoolet.archive.live.counters import counter_of
from zoolet.archive.mirror.records.state_file import StateFile
from zoolet.client import (
    ACL,
    OPEN_ACL,
    Client,
    ClientOptions,
    CreateMode,
    Credential,
    Id,
    Multi,
)
from zoolet.testing import ApacheServer, EmbeddedServer, ErrorCode, OpCode, ServerProcess

PAIRS = [("zoolet", "other"), ("zoolet", "apache"), ("apache", "zoolet")]
READERS = (ACL(31, Id("world", "anyone")), ACL(1, Id("ip", "127.0.0.1")))
SETTINGS = {"extendedTypesEnabled": "true"}


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, EmbeddedServer]]:
    with EmbeddedServer(settings=SETTINGS) as zoolet, EmbeddedServer(settings=SETTINGS) as other:
        yield {"zoolet": zoolet, "other": other}


@pytest.fixture(scope="module")
def apache_server(
    tmp_path_factory: pytest.TempPathFactory, apache_jars: Path
) -> Iterator[ApacheServer]:
    with ApacheServer(tmp_path_factory.mktemp("apache"), apache_jars, SETTINGS) as running:
        yield running


class Pair:
    """A source and a target, with a client of each.

    Attributes:
        source: the client of the source.
        target: the client of the target.
        hosts: the addresses of both.
        root: the path of the subtree, on both.
        state: the state file.
    """

    def __init__(self, source: Client, target: Client, hosts: list[str], root: str, state: Path):
        self.source, self.target = source, target
        self.hosts, self.root, self.state = hosts, root, state

    def mirror(self, *options: str) -> MirrorProcess:
        places = [f"{hosts}{self.root}" for hosts in self.hosts]
        return MirrorProcess(places[0], places[1], self.state, *options)

    def once(self, *options: str) -> tuple[int, str]:
        """Run the mirror in this process until its end; return its exit status and output."""
        places = [f"{hosts}{self.root}" for hosts in self.hosts]
        return run_here(places[0], places[1], self.state, "--once", *options)

    def copy_once(self, *options: str) -> str:
        """Run the mirror until both subtrees are equal; return its output."""
        status, text = self.once(*options)
        assert status == 0, text
        return text

    def check_equal(self) -> None:
        check_equal(self.source, self.root, self.target, self.root)


@pytest.fixture
def pair(
    request: pytest.FixtureRequest, servers: dict[str, EmbeddedServer], tmp_path: Path
) -> Iterator[Pair]:
    names = getattr(request, "param", ("zoolet", "other"))
    used = [
        request.getfixturevalue("apache_server") if name == "apache" else servers[name]
        for name in names
    ]
    root = f"/{tmp_path.name}"
    with Client(used[0].hosts) as source, Client(used[1].hosts) as target:
        source.create(root, b"root")
        yield Pair(source, target, [each.hosts for each in used], root, tmp_path / "s.sqlite")


def grow(client: Client, root: str) -> None:
    """Create znodes of each kind."""
    client.create(f"{root}/a", None)
    client.create(f"{root}/a/empty", b"")
    client.create(f"{root}/a/acl", b"secret", acl=READERS)
    client.create(f"{root}/container", b"c", mode=CreateMode.CONTAINER)
    client.create(f"{root}/ttl", b"t", mode=CreateMode.PERSISTENT_WITH_TTL, ttl_ms=10**9)
    client.create(f"{root}/ephemeral", b"e", mode=CreateMode.EPHEMERAL)
    client.create(f"{root}/queue")
    for _ in range(3):
        client.create(f"{root}/queue/n-", b"", mode=CreateMode.PERSISTENT_SEQUENTIAL)
    used = [
        client.futures.create(f"{root}/queue/n-", b"", mode=CreateMode.EPHEMERAL_SEQUENTIAL)
        for _ in range(300)
    ]
    for path in [each.result().path for each in used]:
        client.futures.delete(path)
    client.sync()


@pytest.mark.parametrize("pair", PAIRS, ids="-to-".join, indirect=True)
def test_a_subtree_is_copied_and_followed(pair: Pair) -> None:
    source, root = pair.source, pair.root
    grow(source, root)
    with pair.mirror("--compare-every", "1") as running:
        running.wait_for(f"ephemerals of the source without a copy: 1 ({root}/ephemeral)")

        source.set(f"{root}/a", b"changed")
        source.delete(f"{root}/a/empty")
        source.create(f"{root}/new/".rstrip("/"), b"n")
        source.multi(Multi().create(f"{root}/new/x").create(f"{root}/new/x/y", b"y"))
        source.delete_recursive(f"{root}/queue")
        source.multi(Multi().create(f"{root}/queue", b"again").create(f"{root}/queue/z"))
        source.set_acl(f"{root}/a", READERS)
        wait_until(
            lambda: tree_at(pair.target, root) == tree_at(source, root), "the copy of the changes"
        )
        path = source.create(f"{root}/queue/n-", mode=CreateMode.PERSISTENT_SEQUENTIAL).path
        source.delete(path)
        assert running.terminate() == 0
    assert "the mirror has ended" in running.text
    pair.copy_once()
    pair.check_equal()
    at_source = source.create(f"{root}/queue/n-", mode=CreateMode.PERSISTENT_SEQUENTIAL)
    at_target = pair.target.create(f"{root}/queue/n-", mode=CreateMode.PERSISTENT_SEQUENTIAL)
    assert at_target.path >= at_source.path


def test_the_start_message_says_what_is_not_kept(pair: Pair) -> None:
    told = pair.copy_once()
    for lost in ("czxid", "ephemerals", "containers", "TTL", "/zookeeper", "quotas", "ACLs"):
        assert lost in told


def test_a_restart_copies_only_changes(pair: Pair) -> None:
    grow(pair.source, pair.root)
    pair.copy_once()
    pair.source.set(f"{pair.root}/ttl", b"u")
    told = pair.copy_once()
    assert "the mirror has ended: copied 1, deleted 0, waiting 0, lag" in told


def test_without_its_state_a_mirror_compares_the_data(pair: Pair) -> None:
    grow(pair.source, pair.root)
    pair.copy_once()
    pair.state.unlink()
    assert "the mirror has ended: copied 0, deleted 0" in pair.copy_once()
    pair.check_equal()


def test_a_target_that_lost_its_data_is_copied_again(pair: Pair) -> None:
    grow(pair.source, pair.root)
    pair.copy_once()
    pair.target.delete_recursive(pair.root)
    pair.target.delete_recursive(f"/zoolet-mirror-{pair.root[1:]}")
    pair.copy_once()
    pair.check_equal()


@pytest.mark.parametrize("change", ["set", "create", "delete", "acl"])
def test_a_change_of_others_ends_the_mirror_or_is_overwritten(pair: Pair, change: str) -> None:
    root, target = pair.root, pair.target
    pair.source.create(f"{root}/a", b"a")
    with pair.mirror("--compare-every", "1") as running:
        running.wait_for("compared")
        changed = f"{root}/other" if change == "create" else f"{root}/a"
        if change == "set":
            target.set(changed, b"other")
        elif change == "create":
            target.create(changed, b"other")
        elif change == "delete":
            target.delete(changed)
        else:
            target.set_acl(changed, READERS)
        assert running.wait() == 1
        assert f"{changed} in the target was" in running.text
        assert "--on-conflict overwrite" in running.text
    assert pair.once()[0] == 1
    assert "is overwritten" in pair.copy_once("--on-conflict", "overwrite")
    pair.check_equal()
    pair.copy_once()


def test_a_change_of_others_is_found_at_each_name(pair: Pair) -> None:
    name = f"{pair.root}/zoolet-counter-mine"
    with pair.mirror() as running:
        running.wait_for("compared")
        pair.target.create(name)
        assert running.wait() == 1
        assert f"{name} in the target was created by another client" in running.text


def test_raised_counters_are_no_change_of_others(pair: Pair) -> None:
    with pair.mirror() as running:
        running.wait_for("compared")
        for _ in range(600):
            pair.source.delete(
                pair.source.create(f"{pair.root}/n-", mode=CreateMode.PERSISTENT_SEQUENTIAL).path
            )
        wait_until(
            lambda: counter_of(pair.target.get(pair.root).stat) >= 600, "the counter of the target"
        )
        pair.source.set(pair.root, b"last")
        wait_until(lambda: pair.target.get(pair.root).data == b"last", "the last change")
        assert running.terminate() == 0


def test_znodes_that_are_only_in_the_target_are_a_conflict(pair: Pair) -> None:
    pair.target.create(pair.root, b"root")
    pair.target.create(f"{pair.root}/mine", b"1")
    status, text = pair.once()
    assert status == 1
    assert f"{pair.root}/mine in the target does not exist in the source" in text
    pair.copy_once("--on-conflict", "overwrite")
    pair.check_equal()


def test_only_one_mirror_writes_to_a_target(pair: Pair, tmp_path: Path) -> None:
    with pair.mirror() as first:
        first.wait_for("compared")
        status, text = pair.once()
        assert status == 1
        assert "is used by a mirror that runs" in text
        pair.state = tmp_path / "other.sqlite"
        status, text = pair.once("--session-timeout-ms", "1000")
        assert status == 1
        assert "another mirror writes to this target (host" in text
        assert first.terminate() == 0


def test_a_killed_mirror_starts_again_at_once(pair: Pair) -> None:
    grow(pair.source, pair.root)
    with pair.mirror() as killed:
        killed.wait_for("compared")
        killed.kill()
    pair.source.set(f"{pair.root}/ttl", b"u")
    pair.copy_once()
    pair.check_equal()


def test_a_mirror_that_lost_its_target_to_another_one_ends(pair: Pair) -> None:
    marker = f"/zoolet-mirror-{pair.root[1:]}"
    with pair.mirror() as running:
        running.wait_for("compared")
        pair.target.set(marker, b'{"id": "another", "number": 0}')
        pair.source.set(pair.root, b"changed")
        assert running.wait() == 1
        assert "another mirror has taken this target" in running.text


JUNK = [
    b"",
    b"junk",
    b"\xff",
    b"[]",
    b"1",
    b"{}",
    b"[" * 100_000,
    b'{"id": 1, "number": 1e400}',
    b'{"id": 1, "number": NaN}',
    b'{"id": 1, "number": -1}',
    b'{"id": 1, "number": true}',
    b'{"id": 1, "number": []}',
]


@pytest.mark.parametrize("data", JUNK, ids=range(len(JUNK)))
def test_a_marker_that_is_not_of_a_mirror_is_named(pair: Pair, data: bytes) -> None:
    marker = f"/zoolet-mirror-{pair.root[1:]}"
    pair.target.create(marker, data)
    status, text = pair.once()
    assert status == 1
    assert f"{marker} in the target is not the marker of a mirror: delete it" in text


def test_an_owner_that_is_not_of_a_mirror_is_named(pair: Pair) -> None:
    marker = f"/zoolet-mirror-{pair.root[1:]}"
    pair.target.create(marker, b'{"id": "x", "number": 0}')
    pair.target.create(f"{marker}/owner", b"[]")
    status, text = pair.once("--session-timeout-ms", "1")
    assert status == 1
    assert f"{marker}/owner in the target is not the marker of a mirror: delete it" in text


@pytest.mark.parametrize("path", ["/zookeeper", "/zookeeper/quota/a"])
@pytest.mark.parametrize("side", [0, 1])
def test_the_data_of_the_servers_are_not_mirrored(pair: Pair, path: str, side: int) -> None:
    places = [f"{hosts}{pair.root}" for hosts in pair.hosts]
    places[side] = pair.hosts[side] + path
    status, text = run_here(places[0], places[1], pair.state)
    assert status == 2
    assert f"{path} has the data of the servers" in text


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "0"])
def test_a_time_that_is_not_a_number_is_refused(pair: Pair, value: str) -> None:
    status, text = pair.once("--compare-every", value)
    assert status == 2
    assert "--compare-every" in text


def test_ephemerals_become_persistent_if_wanted(pair: Pair) -> None:
    pair.source.create(f"{pair.root}/e", b"1", mode=CreateMode.EPHEMERAL)
    pair.copy_once("--keep-ephemerals")
    found = pair.target.get(f"{pair.root}/e")
    assert (found.data, found.stat.ephemeral_owner) == (b"1", 0)
    pair.copy_once()
    assert pair.target.exists(f"{pair.root}/e") is None


def test_a_counter_above_the_limit_is_reported(pair: Pair) -> None:
    grow(pair.source, pair.root)
    told = pair.copy_once("--counter-steps", "10")
    assert f"sequential znodes below {pair.root}/queue get numbers from 3 in the target" in told


def test_a_subtree_is_not_copied_into_itself(pair: Pair) -> None:
    place = f"{pair.hosts[0]}{pair.root}"
    status, text = run_here(place, f"{place}/copy", pair.state)
    assert status == 1
    assert f"the source {pair.root} and the target {pair.root}/copy are on the same servers" in text
    assert pair.source.children(pair.root).names == ()


def test_a_source_that_does_not_exist_empties_no_target(pair: Pair) -> None:
    pair.copy_once()
    pair.source.delete(pair.root)
    status, text = pair.once()
    assert status == 1
    assert f"{pair.root} does not exist in the source" in text
    assert pair.target.exists(pair.root) is not None


@pytest.mark.parametrize("way", ["event", "comparison"])
def test_a_source_that_loses_its_root_empties_no_target(pair: Pair, way: str) -> None:
    options = () if way == "event" else ("--compare-every", "1")
    with pair.mirror(*options) as running:
        running.wait_for("compared")
        pair.source.delete(pair.root)
        assert running.wait() == 1
        message = f"the root of the source, {pair.root}, does not exist any more"
        assert message in running.text
    assert pair.target.get(pair.root).data == b"root"


def test_a_source_that_is_replaced_by_an_empty_server_empties_no_target(tmp_path: Path) -> None:
    with (
        ServerProcess(tmp_path) as source,
        EmbeddedServer() as target,
        Client(target.hosts) as at_target,
    ):
        with Client(source.hosts) as at_source:
            at_source.create("/app", b"root")
            at_source.create("/app/a", b"a")
        places = [f"{each.hosts}/app" for each in (source, target)]
        with MirrorProcess(places[0], places[1], tmp_path / "s.sqlite") as running:
            running.wait_for("compared")
            source.kill()
            shutil.rmtree(source.config.data_dir)
            source.start()
            with Client(source.hosts) as other:
                # A server refuses clients that have seen a higher zxid than it has.
                for number in range(50):
                    other.create(f"/other-{number}")
            assert running.wait() == 1
            assert "does not exist any more" in running.text
        assert tree_at(at_target, "/app").keys() == {"", "/a"}


def test_a_source_that_was_set_back_is_copied(tmp_path: Path, pair: Pair) -> None:
    stats = []
    with ServerProcess(tmp_path / "source") as source:
        data_dir = source.config.data_dir
        with Client(source.hosts) as client:
            client.create("/app", b"root")
        source.stop()
        shutil.copytree(data_dir, tmp_path / "backup")
        for data in (b"before", b"after"):
            shutil.rmtree(data_dir)
            shutil.copytree(tmp_path / "backup", data_dir)
            source.start()
            with Client(source.hosts) as client:
                stats.append(client.set("/app", data))
            place = f"{pair.hosts[1]}{pair.root}"
            status, text = run_here(f"{source.hosts}/app", place, pair.state, "--once")
            assert status == 0, text
            assert pair.target.get(pair.root).data == data
            source.stop()
    assert stats[0].mzxid == stats[1].mzxid


def test_a_state_file_of_another_release_is_named(pair: Pair) -> None:
    pair.copy_once()
    with contextlib.closing(sqlite3.connect(pair.state, isolation_level=None)) as base:
        base.execute("UPDATE facts SET value = '1' WHERE name = 'version'")
    status, text = pair.once()
    assert status == 1
    assert f"{pair.state} was written by another release of zoolet: delete it" in text


def test_a_hidden_acl_needs_a_login(pair: Pair) -> None:
    login = "digest:ann:secret"
    options = ClientOptions(auth=(Credential("digest", "ann:secret"),))
    acl = (ACL(31, Id("auth", "")), ACL(1, Id("world", "anyone")))
    with Client(pair.hosts[0], options) as ann:
        ann.create(f"{pair.root}/private", b"1", acl=acl)
        status, text = pair.once()
        assert status == 1
        assert "--from-auth" in text
        both = ("--from-auth", login, "--to-auth", login)
        pair.copy_once(*both)
        ann.set(f"{pair.root}/private", b"2")
        pair.copy_once(*both)
        assert pair.target.get(f"{pair.root}/private").data == b"2"


def test_a_server_without_recursive_watches_is_refused(
    pair: Pair, servers: dict[str, EmbeddedServer]
) -> None:
    fault = servers["zoolet"].faults.on(OpCode.ADD_WATCH).answer(ErrorCode.UNIMPLEMENTED)
    status, text = pair.once()
    fault.cancel()
    assert status == 1
    assert "a mirror needs ZooKeeper 3.6 or later" in text


def test_metrics(pair: Pair) -> None:
    with pair.mirror("--metrics-port", "0") as running:
        url = running.wait_for("metrics on ").split()[-1]
        running.wait_for("compared")
        with urllib.request.urlopen(url) as answer:
            text = answer.read().decode()
        assert "zoolet_mirror_lag_seconds 0.0" in text
        assert "zoolet_mirror_copied_total 1.0" in text
        assert running.terminate() == 0


def test_a_file_that_is_not_a_state_is_named(pair: Pair) -> None:
    pair.state.write_bytes(b"something else" * 1000)
    status, text = pair.once()
    assert status == 1
    assert f"{pair.state} cannot be used" in text


def test_a_state_file_that_cannot_be_written_ends_the_mirror(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: StateFile) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    pair.copy_once()
    pair.source.set(pair.root, b"changed")
    with monkeypatch.context() as patched:
        patched.setattr(StateFile, "commit", fail)
        status, text = pair.once()
    assert status == 1
    assert f"{pair.state} cannot be used (database or disk is full)" in text
    pair.copy_once()
    pair.check_equal()


def test_a_whole_server_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        EmbeddedServer(settings=SETTINGS) as source,
        EmbeddedServer(settings=SETTINGS) as target,
        Client(source.hosts) as at_source,
        Client(target.hosts) as at_target,
    ):
        grow(at_source, "")
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        for _ in range(2):
            status, text = run_here(source.hosts, target.hosts, None, "--once")
            assert status == 0, text
            check_equal(at_source, "/", at_target, "/")
        assert len(list((tmp_path / "state" / "zoolet" / "mirrors").glob("*.sqlite"))) == 1
        assert at_target.get_acl("/").acl == OPEN_ACL
