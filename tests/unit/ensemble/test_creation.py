"""``zoolet ensemble create`` and ``undo``: everything or nothing, and never two histories."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.failing_disk import NEVER, CrashError, StoppedAt
from tests.support.stopped_server import (
    CONFIG,
    MEMBERS,
    StoppedServer,
    add_ttl,
    members_of,
    run,
    stopped_server,
)
from tests.support.writer import DISK
from zoolet.data.comparing import differences
from zoolet.data.directory_reader import directories_of, machine_of
from zoolet.ensemble.checking import check_copies
from zoolet.ensemble.creation import create_ensemble
from zoolet.ensemble.errors import EnsembleError
from zoolet.ensemble.member_directories import find_member
from zoolet.model import requests
from zoolet.model.codes import OpCode
from zoolet.storage.disk import Disk
from zoolet.storage.ensemble_marker import MARKER_NAME, read_marker


@pytest.fixture
def stopped(tmp_path: Path) -> StoppedServer:
    """A stopped server in a directory whose name has a blank."""
    return stopped_server(tmp_path / "my server")


def create(stopped: StoppedServer, to: Path) -> None:
    create_ensemble(DISK, stopped.config_path, members_of(), to)


def test_each_member_gets_the_data_and_its_configuration(
    stopped: StoppedServer, tmp_path: Path
) -> None:
    before = stopped.files()
    newest = max(before, key=lambda path: path.stat().st_mtime_ns)
    assert newest.read_bytes().endswith(bytes(1000))
    stopped.config_path.chmod(0o600)
    result = run("create", stopped.config_path, *MEMBERS, "--to", tmp_path / "new")
    assert result.exit_code == 0, result.output
    assert stopped.files() == before
    for number in (1, 2, 3):
        home = tmp_path / "new" / str(number)
        assert (home / "data" / "myid").read_text() == f"{number}\n"
        versioned = home / "data" / "version-2"
        assert (versioned / "currentEpoch").read_text() == "0\n"
        assert (versioned / "acceptedEpoch").read_text() == "0\n"
        copied = machine_of(home / "data")
        assert list(differences(stopped.writer.machine, copied)) == []
        assert copied.zxid == stopped.writer.machine.zxid
        for path, content in before.items():
            assert (versioned / path.name).read_bytes() == content.rstrip(b"\0")
        text = (home / "zoo.cfg").read_text()
        assert f"dataDir={home}/data\n" in text
        assert "clientPort=" not in text
        assert "db.autocreate=false\n" in text
        assert text.endswith("".join(f"server.{member}\n" for member in MEMBERS))
        assert (home / "zoo.cfg").stat().st_mode & 0o777 == 0o600
        assert not (home / "java.env").exists()
    assert run("check", *(tmp_path / "new").iterdir()).exit_code == 0


def test_logs_may_have_their_own_directory(stopped: StoppedServer, tmp_path: Path) -> None:
    versioned = stopped.writer.directories.snapshots
    logs = tmp_path / "logs" / "version-2"
    logs.mkdir(parents=True)
    for path in stopped.writer.logs():
        path.rename(logs / path.name)
    with stopped.config_path.open("a") as file:
        file.write(f"dataLogDir={logs.parent}\n")
    create(stopped, tmp_path / "new")
    home = tmp_path / "new" / "2"
    assert f"dataLogDir={home}/log\n" in (home / "zoo.cfg").read_text()
    assert list(versioned.glob("log.*")) == []
    copied = machine_of(home / "data", home / "log")
    assert list(differences(stopped.writer.machine, copied)) == []
    assert run("check", *(tmp_path / "new").iterdir()).exit_code == 0
    assert run("import", *(tmp_path / "new").iterdir(), "--to", tmp_path / "back").exit_code == 0
    assert f"dataLogDir={tmp_path}/back/log\n" in (tmp_path / "back" / "zoo.cfg").read_text()


def test_an_unfinished_write_is_not_copied(stopped: StoppedServer, tmp_path: Path) -> None:
    newest = stopped.writer.logs()[-1]
    content = newest.read_bytes().rstrip(b"\0")
    newest.write_bytes(content[:-4] + bytes(200))
    expected = machine_of(stopped.data_dir)
    assert expected.zxid == stopped.writer.machine.zxid - 1
    create(stopped, tmp_path / "new")
    assert newest.read_bytes() == content[:-4] + bytes(200)
    copied = machine_of(tmp_path / "new" / "3" / "data")
    assert (copied.zxid, list(differences(expected, copied))) == (expected.zxid, [])


def test_a_damaged_snapshot_is_not_copied(stopped: StoppedServer, tmp_path: Path) -> None:
    newest = max(stopped.writer.directories.snapshots.glob("snapshot.*"), key=os.path.getmtime)
    newest.write_bytes(newest.read_bytes()[:-1])
    result = run("create", stopped.config_path, *MEMBERS, "--to", tmp_path / "new")
    assert result.exit_code == 0
    assert f"{newest} is damaged, and is not copied" in result.output
    assert not (tmp_path / "new" / "1" / "data" / "version-2" / newest.name).exists()


def test_epochs_are_not_lower_than_before(stopped: StoppedServer, tmp_path: Path) -> None:
    (stopped.writer.directories.snapshots / "acceptedEpoch").write_text("7")
    (stopped.writer.directories.snapshots / "currentEpoch").write_text("6")
    create(stopped, tmp_path / "new")
    versioned = tmp_path / "new" / "1" / "data" / "version-2"
    assert (versioned / "acceptedEpoch").read_text() == "7\n"
    assert (versioned / "currentEpoch").read_text() == "6\n"


def test_the_places_of_other_machines_are_written(stopped: StoppedServer, tmp_path: Path) -> None:
    places = ("--data-dir", "/var/lib/zk", "--data-log-dir", "/logs")
    result = run("create", stopped.config_path, *MEMBERS, "--to", tmp_path / "new", *places)
    assert result.exit_code == 0, result.output
    text = (tmp_path / "new" / "1" / "zoo.cfg").read_text()
    assert "dataDir=/var/lib/zk\ndataLogDir=/logs\n" in text


def test_ttl_znodes_and_large_txns_change_the_settings(
    stopped: StoppedServer, tmp_path: Path
) -> None:
    add_ttl(stopped)
    data = bytes(3_000_000)
    stopped.writer.change(OpCode.SET_DATA, requests.SetData("/a", data, -1))
    stopped.writer.change(OpCode.SET_DATA, requests.SetData("/a", b"", -1))
    result = run("create", stopped.config_path, *MEMBERS, "--to", tmp_path / "new")
    assert result.exit_code == 0, result.output
    home = tmp_path / "new" / "1"
    assert "extendedTypesEnabled=true\n" in (home / "zoo.cfg").read_text()
    needed = next(
        int(word) for word in (home / "java.env").read_text().split('"')[1].split("=")[1:]
    )
    assert 1_500_000 < needed < 1_510_000
    assert f"-Djute.maxbuffer={needed}" in result.output
    (home / "java.env").unlink()
    (home / "zoo.cfg").write_text(
        (home / "zoo.cfg").read_text().replace("extendedTypesEnabled=true", "")
    )
    checked = run("check", *(tmp_path / "new").iterdir())
    assert checked.exit_code == 1
    assert "start Java with -Djute.maxbuffer=" in checked.output
    assert "there are TTL znodes, but" in checked.output


def test_a_running_server_is_found(stopped: StoppedServer, tmp_path: Path) -> None:
    (stopped.data_dir / "zookeeper_server.pid").write_text(f"{os.getpid()}\n")
    result = run("create", stopped.config_path, *MEMBERS, "--to", tmp_path / "new")
    assert result.exit_code == 1
    assert f"process {os.getpid()} seems to be a server" in result.output
    assert not (tmp_path / "new").exists()


def test_a_locked_directory_is_found(
    stopped: StoppedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoolet.storage.files._PID_TRIES", 1)
    locks = stopped.writer.directories.lock(Disk())
    (stopped.data_dir / "zookeeper_server.pid").write_text("")
    with pytest.raises(Exception, match="already running"):
        create(stopped, tmp_path / "new")
    for lock in locks:
        lock.release()
    create(stopped, tmp_path / "new")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda home: (home / "data").rename(home / "gone"), "version-2 does not exist"),
        (lambda home: [p.unlink() for p in home.rglob("version-2/*")], "there is no snapshot"),
        (lambda home: [p.unlink() for p in home.rglob("snapshot.*")], "there are logs in"),
        (lambda home: (home / "zoo.cfg").unlink(), "the file does not exist"),
        (lambda home: (home / "zoo.cfg").write_text("clientPort=1"), "dataDir is missing"),
        (
            lambda home: (home / "zoo.cfg").write_text(
                CONFIG.format(data=home / "data") + "server.1=a:1:2\nserver.2=b:1:2\n"
            ),
            "sets up an ensemble",
        ),
    ],
)
def test_what_cannot_be_copied_is_refused(
    stopped: StoppedServer, tmp_path: Path, damage: object, message: str
) -> None:
    assert callable(damage)
    damage(stopped.config_path.parent)
    result = run("create", stopped.config_path, *MEMBERS, "--to", tmp_path / "new")
    assert result.exit_code == 1
    assert message in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my server"]


def test_a_damaged_log_is_refused(stopped: StoppedServer, tmp_path: Path) -> None:
    stopped.writer.create("/later")
    newest = stopped.writer.logs()[-1]
    content = bytearray(newest.read_bytes())
    content[50] ^= 1
    newest.write_bytes(content)
    result = run("create", stopped.config_path, *MEMBERS, "--to", tmp_path / "new")
    assert result.exit_code == 1
    assert "checksum is wrong" in result.output
    assert read_marker(DISK, stopped.writer.directories) is None


def test_an_existing_directory_is_not_touched(stopped: StoppedServer, tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    (new / "file").write_text("mine")
    result = run("create", stopped.config_path, *MEMBERS, "--to", new)
    assert result.exit_code == 1
    assert f"{new} exists already: name a new directory" in result.output
    (new / "file").unlink()
    assert run("create", stopped.config_path, *MEMBERS, "--to", new).exit_code == 0


def test_a_full_disk_is_found_before_the_copy(
    stopped: StoppedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 5, 5))
    result = run("create", stopped.config_path, *MEMBERS, "--to", tmp_path / "new")
    assert result.exit_code == 1
    assert f"but {tmp_path} has only 0.0 MB free" in result.output


def test_undo_lets_the_server_start_again(stopped: StoppedServer, tmp_path: Path) -> None:
    create(stopped, tmp_path / "new")
    again = run("create", stopped.config_path, *MEMBERS, "--to", tmp_path / "other")
    assert again.exit_code == 1
    assert f"{tmp_path}/new/1" in again.output
    assert "zoolet ensemble undo" in again.output
    assert run("undo", stopped.config_path).exit_code == 0
    assert read_marker(DISK, stopped.writer.directories) is None
    second = run("undo", stopped.data_dir)
    assert second.exit_code == 1
    assert "has no marker" in second.output
    assert run("create", stopped.config_path, *MEMBERS, "--to", tmp_path / "other").exit_code == 0


@pytest.mark.parametrize("change", ["epoch", "log", "snapshot"])
def test_undo_refuses_after_the_first_start(
    stopped: StoppedServer, tmp_path: Path, change: str
) -> None:
    create(stopped, tmp_path / "new")
    versioned = tmp_path / "new" / "2" / "data" / "version-2"
    name = {"epoch": "acceptedEpoch", "log": "log.100000001", "snapshot": "snapshot.100000000"}
    (versioned / name[change]).write_text("1\n")
    refused = run("undo", stopped.data_dir)
    assert refused.exit_code == 1
    assert f"the member in {tmp_path}/new/2 has been started" in refused.output
    assert read_marker(DISK, stopped.writer.directories) is not None
    assert run("undo", stopped.data_dir, "--discard-changes").exit_code == 0


def test_undo_looks_at_the_directories_that_were_created(
    stopped: StoppedServer, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "version-2").mkdir(parents=True)
    run("create", stopped.config_path, *MEMBERS, "--to", tmp_path / "new", "--data-dir", elsewhere)
    assert run("undo", stopped.data_dir).exit_code == 0
    run("create", stopped.config_path, *MEMBERS, "--to", tmp_path / "2", "--data-dir", elsewhere)
    (tmp_path / "2" / "3" / "data" / "version-2" / "acceptedEpoch").write_text("what?")
    assert run("undo", stopped.data_dir).exit_code == 1


def test_undo_after_the_members_were_moved_away(stopped: StoppedServer, tmp_path: Path) -> None:
    create(stopped, tmp_path / "new")
    shutil.rmtree(tmp_path / "new")
    result = run("undo", stopped.data_dir)
    assert result.exit_code == 0
    assert f"Do not start the members any more: {tmp_path}/new/1" in result.output


@pytest.mark.parametrize("is_crash", [False, True])
def test_an_interruption_leaves_everything_or_nothing(
    stopped: StoppedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_crash: bool
) -> None:
    """The class of faults: an error or a crash at any operation on the disk."""
    counting = StoppedAt(NEVER, is_crash=False)
    create_ensemble(counting, stopped.config_path, members_of(), tmp_path / "counted")
    steps = NEVER - counting.left
    assert steps > 50
    assert run("undo", stopped.data_dir).exit_code == 0
    before = stopped.files()
    if is_crash:
        monkeypatch.setattr("zoolet.ensemble.new_directory.NewDirectory.abandon", lambda _: None)
    chance = random.Random(1)
    last_steps = range(steps - 12, steps + 1)
    for at in sorted({*chance.sample(range(1, steps), 12), *last_steps}):
        new = tmp_path / f"new {at}"
        failing = StoppedAt(at, is_crash=is_crash)
        with pytest.raises((OSError, EnsembleError, CrashError)):
            create_ensemble(failing, stopped.config_path, members_of(), new)
        assert stopped.files() == before, at
        marker = read_marker(DISK, stopped.writer.directories)
        left = [path for path in tmp_path.iterdir() if path.name.startswith(f"new {at}.")]
        if new.exists():
            assert marker is not None, at
            found = list(check_copies([find_member(path) for path in new.iterdir()]))
            assert [finding.text for finding in found if not finding.is_sound] == [], at
        elif not is_crash:
            assert (marker, left) == (None, []), at
        if marker is not None:
            assert run("undo", stopped.data_dir).exit_code == 0, at
        unfinished = stopped.writer.directories.snapshots / f"unfinished.{MARKER_NAME}"
        unfinished.unlink(missing_ok=True)


def test_leftovers_are_named(stopped: StoppedServer, tmp_path: Path) -> None:
    left = tmp_path / "new.unfinished-0a1b2c3d"
    left.mkdir()
    result = run("create", stopped.config_path, *MEMBERS, "--to", tmp_path / "new")
    assert result.exit_code == 0
    assert f"note: {left} is left from an interrupted command: remove it." in result.output


def test_the_command_is_in_the_program(stopped: StoppedServer, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "zoolet", "ensemble", "create", str(stopped.config_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert "Missing argument" in done.stderr
    assert directories_of(stopped.data_dir) == stopped.writer.directories
