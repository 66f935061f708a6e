"""``zoolet ensemble import``: the newest member's data, or a refusal; the members never change."""

import os
import random
import shutil
from pathlib import Path

import pytest

from tests.support.failing_disk import NEVER, CrashError, StoppedAt
from tests.support.stopped_server import MEMBERS, run, stopped_server
from tests.support.writer import DISK, SESSION
from zoolet.data.comparing import differences
from zoolet.data.directory_reader import machine_of, state_of
from zoolet.ensemble.errors import EnsembleError
from zoolet.ensemble.importing import EPOCH_STEP, import_ensemble
from zoolet.ensemble.member_directories import find_member
from zoolet.model import paths, requests
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import OpCode
from zoolet.server.zoo_cfg.reading import read_config
from zoolet.state_machine.identities import NOBODY
from zoolet.state_machine.view import Requester
from zoolet.storage.ensemble_marker import MARKER_NAME
from zoolet.storage.files import DataDirectories
from zoolet.storage.snapshots import Image, write_snapshot
from zoolet.storage.txn_log import TxnLog, encode_record

SERVERS = b"server.1=zk1:2888:3888;2181\nserver.2=zk2:2888:3888\nserver.3=zk3:2888:3888\nversion=0"
SEEDS = 25


@pytest.fixture
def members(tmp_path: Path) -> Path:
    """The directories of three members, as ``create`` makes them."""
    stopped = stopped_server(tmp_path / "my server")
    result = run("create", stopped.config_path, *MEMBERS, "--to", tmp_path / "new")
    assert result.exit_code == 0, result.output
    return tmp_path / "new"


def versioned_of(home: Path) -> Path:
    return home / "data" / "version-2"


def all_of(members: Path) -> list[Path]:
    return [members / str(number) for number in (1, 2, 3)]


def write_epochs(home: Path, accepted: int, current: int) -> None:
    (versioned_of(home) / "acceptedEpoch").write_text(str(accepted))
    (versioned_of(home) / "currentEpoch").write_text(str(current))


def log_creates(home: Path, epoch: int, names: list[str]) -> None:
    """Let a member accept an epoch, and log the creation of znodes in it."""
    write_epochs(home, epoch, epoch)
    directories = DataDirectories.of(home / "data")
    machine = state_of(directories).machine
    machine.zxid = epoch << 32
    log = TxnLog(DISK, directories.logs, preallocate_bytes=0)
    for name in names:
        create = requests.Create(name, b"", OPEN_ACL, 0)
        txn = machine.prepare(Requester(SESSION, NOBODY), 1, OpCode.CREATE, create, time_ms=1)
        machine.apply(txn)
        log.append(txn.header.zxid, encode_record(txn))
    log.roll()


def flip_a_byte(home: Path) -> None:
    """Damage the first record of the newest log."""
    log = max(versioned_of(home).glob("log.*"), key=lambda path: int(path.name[4:], 16))
    content = bytearray(log.read_bytes())
    content[60] ^= 1
    log.write_bytes(content)


def content_of(members: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(members.rglob("*")) if path.is_file()}


def test_the_newest_member_is_selected(members: Path, tmp_path: Path) -> None:
    log_creates(members / "1", 1, ["/x"])
    log_creates(members / "2", 1, ["/x", "/y"])
    before = content_of(members)
    result = run("import", *all_of(members), "--to", tmp_path / "back")
    assert result.exit_code == 0, result.output
    assert content_of(members) == before
    assert f"newest: member 2 ({members}/2/data): epoch 1, zxid 0x100000002" in result.output
    copied, newest = machine_of(tmp_path / "back" / "data"), machine_of(members / "2" / "data")
    assert list(differences(newest, copied)) == []
    assert copied.sessions.by_id.keys() == {SESSION}
    assert copied.zxid == (1 + EPOCH_STEP) << 32
    versioned = versioned_of(tmp_path / "back")
    assert not {"acceptedEpoch", "currentEpoch", MARKER_NAME} & {
        path.name for path in versioned.iterdir()
    }
    assert not (tmp_path / "back" / "data" / "myid").exists()
    config = read_config(tmp_path / "back" / "zoo.cfg")
    assert (config.client_port, config.data_dir) == (2181, tmp_path / "back" / "data")
    assert config.warnings == ()


def test_the_epoch_counts_before_the_zxid(members: Path, tmp_path: Path) -> None:
    """A leader of a later epoch has not got the last txns of another member: nobody has."""
    log_creates(members / "1", 1, ["/x", "/uncommitted"])
    log_creates(members / "2", 1, ["/x"])
    write_epochs(members / "2", 2, 2)
    log_creates(members / "3", 1, ["/x"])
    write_epochs(members / "3", 2, 2)
    assert run("import", *all_of(members), "--to", tmp_path / "back").exit_code == 0
    copied = machine_of(tmp_path / "back" / "data")
    assert "/uncommitted" not in copied.tree.records
    assert copied.zxid == (2 + EPOCH_STEP) << 32


def test_a_promised_epoch_is_not_used_again(members: Path, tmp_path: Path) -> None:
    write_epochs(members / "3", 9, 0)
    assert run("import", *all_of(members), "--to", tmp_path / "back").exit_code == 0
    assert machine_of(tmp_path / "back" / "data").zxid == (9 + EPOCH_STEP) << 32


def test_the_znode_of_the_members_is_empty(members: Path, tmp_path: Path) -> None:
    directories = DataDirectories.of(members / "1" / "data")
    machine = state_of(directories).machine
    machine.tree.replace_data(paths.CONFIG, SERVERS)
    machine.zxid = 1 << 32
    write_snapshot(DISK, directories.snapshots, Image.of(machine))
    assert run("import", *all_of(members), "--to", tmp_path / "back").exit_code == 0
    node = machine_of(tmp_path / "back" / "data").tree.find(paths.CONFIG)
    assert node is not None
    assert node.data == b""


@pytest.mark.parametrize("file", ["zoo.cfg", "version-2", "data"])
def test_a_member_has_several_names(members: Path, tmp_path: Path, file: str) -> None:
    places = {"zoo.cfg": "zoo.cfg", "version-2": "data/version-2", "data": "data"}
    named = [home / places[file] for home in all_of(members)]
    result = run("import", *named, "--to", tmp_path / "back")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "back" / "zoo.cfg").exists() == (file == "zoo.cfg")


def test_copies_from_other_machines(members: Path, tmp_path: Path) -> None:
    shutil.copytree(members, tmp_path / "copies")
    shutil.rmtree(members)
    named = all_of(tmp_path / "copies")
    assert run("import", *named, "--to", tmp_path / "back").exit_code == 0


def test_an_ambiguous_directory_is_refused(members: Path, tmp_path: Path) -> None:
    shutil.copytree(members, tmp_path / "copies")
    result = run("import", *all_of(tmp_path / "copies"), "--to", tmp_path / "back")
    assert result.exit_code == 1
    assert f"names {members}/1/data, but {tmp_path}/copies/1/data exists too" in result.output


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (("1", "1", "2"), "are the same directory"),
        (("1", "copy", "2"), "both have the number 1"),
        (("1", "old", "2"), "is the old directory of the server"),
        (("1", "nothing", "2"), "has neither a zoo.cfg nor a version-2"),
        (("1",), "only 1 of the 3 participants can be read, and 2 are a majority"),
    ],
)
def test_wrong_directories_are_refused(
    members: Path, tmp_path: Path, selection: tuple[str, ...], message: str
) -> None:
    shutil.copytree(members / "1" / "data", tmp_path / "copy")
    (tmp_path / "nothing").mkdir()
    named = {name: members / name for name in "123"}
    named |= {"copy": tmp_path / "copy", "old": tmp_path / "my server"}
    chosen = [named.get(name, tmp_path / name) for name in selection]
    result = run("import", *chosen, "--to", tmp_path / "back")
    assert result.exit_code == 1
    assert message in result.output
    assert not (tmp_path / "back").exists()


def test_lost_members_can_be_given_up(members: Path, tmp_path: Path) -> None:
    result = run("import", members / "1", "--to", tmp_path / "back", "--without-majority")
    assert result.exit_code == 0
    assert "Participants without a readable directory: 2, 3" in result.output


def test_an_unreadable_member_may_be_newer(members: Path, tmp_path: Path) -> None:
    log_creates(members / "1", 1, ["/x"])
    log_creates(members / "3", 1, ["/x", "/y"])
    write_epochs(members / "2", 1, 1)
    flip_a_byte(members / "3")
    result = run("import", *all_of(members), "--to", tmp_path / "back")
    assert result.exit_code == 1
    assert f"member 3 ({members}/3/data) cannot be read, and it might be newer" in result.output
    assert "checksum is wrong" in result.output
    result = run("import", members / "1", members / "2", "--to", tmp_path / "back")
    assert result.exit_code == 0


def test_an_unreadable_member_of_an_earlier_epoch_is_older(members: Path, tmp_path: Path) -> None:
    log_creates(members / "1", 2, ["/x"])
    log_creates(members / "2", 2, ["/x"])
    log_creates(members / "3", 1, ["/y", "/z"])
    flip_a_byte(members / "3")
    result = run("import", *all_of(members), "--to", tmp_path / "back")
    assert result.exit_code == 0, result.output
    assert f"older: member 3 ({members}/3/data) cannot be read" in result.output


@pytest.mark.parametrize(
    ("name", "text"), [("currentEpoch", "what?"), ("acceptedEpoch", "2147483648"), ("myid", "")]
)
def test_a_file_without_a_number(members: Path, tmp_path: Path, name: str, text: str) -> None:
    place = members / "3" / "data" if name == "myid" else versioned_of(members / "3")
    (place / name).write_text(f"{text}\n")
    result = run("import", *all_of(members), "--to", tmp_path / "back")
    assert result.exit_code == 1
    assert f"{name} does not contain a number" in result.output


def test_empty_directories_are_no_majority(members: Path, tmp_path: Path) -> None:
    """A member whose disk was replaced has acknowledged nothing that it still knows."""
    for path in versioned_of(members / "2").glob("[ls]*"):
        path.unlink()
    result = run("import", members / "1", members / "2", "--to", tmp_path / "back")
    assert result.exit_code == 1
    assert "Participants without a readable directory: 2, 3" in result.output
    assert run("import", *all_of(members), "--to", tmp_path / "back").exit_code == 0


def test_an_empty_directory_of_a_later_epoch_is_not_older(members: Path, tmp_path: Path) -> None:
    log_creates(members / "1", 1, ["/x"])
    for path in versioned_of(members / "2").glob("[ls]*"):
        path.unlink()
    named, options = (members / "1", members / "2"), ("--without-majority",)
    write_epochs(members / "2", 2, 2)
    assert run("import", *named, "--to", tmp_path / "back", *options).exit_code == 1
    write_epochs(members / "2", 2, 1)
    assert run("import", *named, "--to", tmp_path / "back", *options).exit_code == 0


def test_a_member_that_runs_is_found(members: Path, tmp_path: Path) -> None:
    (members / "2" / "data" / "zookeeper_server.pid").write_text(str(os.getpid()))
    result = run("import", *all_of(members), "--to", tmp_path / "back")
    assert result.exit_code == 1
    assert f"process {os.getpid()} seems to be a server on {members}/2/data" in result.output


def test_a_member_that_writes_meanwhile_is_found(
    members: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*_: object) -> list[str]:
        log_creates(members / "2", 1, ["/x"])
        return []

    monkeypatch.setattr("zoolet.ensemble.importing._check_majority", write)
    result = run("import", *all_of(members), "--to", tmp_path / "back")
    assert result.exit_code == 1
    assert "have changed meanwhile" in result.output
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("back")] == []


@pytest.mark.parametrize("is_crash", [False, True])
def test_an_interruption_leaves_everything_or_nothing(
    members: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_crash: bool
) -> None:
    """The class of faults: an error or a crash at any operation on the disk."""
    found = [find_member(home) for home in all_of(members)]
    counting = StoppedAt(NEVER, is_crash=False)
    import_ensemble(counting, found, tmp_path / "counted")
    expected = machine_of(tmp_path / "counted" / "data")
    before = content_of(members)
    if is_crash:
        monkeypatch.setattr("zoolet.ensemble.new_directory.NewDirectory.abandon", lambda _: None)
    for at in range(1, NEVER - counting.left + 1):
        new = tmp_path / f"new {at}"
        with pytest.raises((OSError, EnsembleError, CrashError)):
            import_ensemble(StoppedAt(at, is_crash=is_crash), found, new)
        assert content_of(members) == before, at
        if new.exists():
            assert list(differences(expected, machine_of(new / "data"))) == [], at
        elif not is_crash:
            left = [path for path in tmp_path.iterdir() if path.name.startswith(f"new {at}")]
            assert left == [], at


class Ensemble:
    """A model of an ensemble: elections, and txns that some members have not logged yet."""

    def __init__(self, members: Path, chance: random.Random) -> None:
        self.homes = all_of(members)
        self.acknowledged: set[str] = set()
        self._chance = chance
        self._position = dict.fromkeys(self.homes, (0, 0))

    def run_epoch(self, epoch: int) -> None:
        """Elect the newest of a majority; its followers log each a part of its txns."""
        chance = self._chance
        quorum = chance.sample(self.homes, chance.choice([2, 3]))
        leader = max(quorum, key=lambda home: self._position[home])
        names = [f"/{epoch}-{number}" for number in range(chance.randint(0, 4))]
        logged = {home: names[: chance.randint(0, len(names))] for home in quorum}
        logged[leader] = names
        for home in quorum:
            if home != leader:
                shutil.rmtree(versioned_of(home))
                shutil.copytree(versioned_of(leader), versioned_of(home))
        for home in quorum:
            log_creates(home, epoch, logged[home])
            self._position[home] = (epoch, len(logged[home]))
        for name in names:
            if sum(name in found for found in logged.values()) > len(self.homes) // 2:
                self.acknowledged.add(name)


def test_no_acknowledged_change_is_lost(members: Path, tmp_path: Path) -> None:
    """The class of faults: any histories, and directories that are damaged, empty or missing."""
    shutil.copytree(members, tmp_path / "fresh")
    refused = 0
    for seed in range(SEEDS):
        chance = random.Random(seed)
        shutil.rmtree(members)
        shutil.copytree(tmp_path / "fresh", members)
        ensemble = Ensemble(members, chance)
        for epoch in range(1, chance.randint(2, 4)):
            ensemble.run_epoch(epoch)
        named = list(ensemble.homes)
        fault = chance.choice(["none", "damaged", "missing", "empty"])
        if fault == "damaged" and sum(1 for _ in versioned_of(named[0]).glob("log.*")) > 2:
            flip_a_byte(named[0])
        elif fault == "missing":
            named.remove(chance.choice(named))
        elif fault == "empty":
            for path in versioned_of(chance.choice(named)).glob("[ls]*"):
                path.unlink()
        before = content_of(members)
        new = tmp_path / f"back {seed}"
        try:
            imported = import_ensemble(DISK, [find_member(home) for home in named], new)
        except EnsembleError:
            assert fault == "damaged", seed
            refused += 1
        else:
            machine = machine_of(new / "data")
            assert ensemble.acknowledged <= set(machine.tree.records), seed
            assert machine.zxid == imported.zxid, seed
            read = [found.zxid for found in imported.candidates if found.zxid is not None]
            assert max(read) < imported.zxid, seed
        assert content_of(members) == before, seed
    assert 0 < refused < SEEDS // 2
