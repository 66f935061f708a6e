"""What the operating system refuses: each command says so in one line, with what to do."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.scripts import (
    SCRIPTS,
    assert_one_line_of_advice,
    require_powerless,
    run_script,
    write_zoo_cfg,
)
from tests.support.waiting import wait_until
from tests.support.writer import Writer
from zoolet.storage.files import LOCK_NAME
from zoolet.testing import ReservedPort

VERBS = ["start", "start-foreground"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The zoo.cfg of a server whose dataDir holds a snapshot and a log."""
    writer = Writer(tmp_path / "data")
    writer.create("/a")
    writer.snapshot()
    writer.create("/b")
    writer.log.roll()
    return write_zoo_cfg(tmp_path, ReservedPort())


@contextmanager
def mounted(directory: Path, *options: str) -> Iterator[Path]:
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", *options, "zoolet-test", str(directory)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system: run the tests as root")
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte."""
    with mounted(tmp_path / "small", "-o", "size=1m") as disk:
        yield disk


def fill(disk: Path) -> Path:
    """Fill a disk; returns the file that takes the room."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return filler
    raise AssertionError("the disk is not full")


# --- Rights


def deny(relative: str, mode: int) -> Callable[[Path], None]:
    return lambda data: (data / relative).chmod(mode)


def replace_directory(relative: str) -> Callable[[Path], None]:
    def replace(data: Path) -> None:
        target = data / relative
        for file in sorted(target.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        target.rmdir()
        target.write_text("no directory")

    return replace


def others_pid_file(data: Path) -> None:
    lock = data / LOCK_NAME
    lock.write_text(f"{os.getpid()}\n")
    lock.chmod(0)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (deny("version-2", 0o555), "version-2"),
        (deny("version-2", 0), "version-2"),
        (deny(".", 0o555), "Permission denied"),
        (deny("version-2/log.3", 0), "log.3: Permission denied. Give this user permission"),
        (others_pid_file, "zookeeper_server.pid: Permission denied. Give this user permission"),
        (replace_directory("."), "data"),
        (replace_directory("version-2"), "version-2"),
    ],
)
def test_a_start_that_the_modes_of_files_refuse(
    path: Path, verb: str, spoil: Callable[[Path], None], said: str
) -> None:
    require_powerless()
    data = path.parent / "data"
    spoil(data)
    try:
        completed = run_script("zkServer.sh", verb, path, has_power=False)
        assert_one_line_of_advice(completed, said)
    finally:
        data.chmod(0o755)


@pytest.mark.parametrize("verb", [*VERBS, "stop", "status", "restart", "print-cmd"])
@pytest.mark.parametrize("kind", ["directory", "unreadable", "missing", "in a file"])
def test_a_zoo_cfg_that_cannot_be_read(tmp_path: Path, verb: str, kind: str) -> None:
    require_powerless()
    path = tmp_path / "zoo.cfg"
    if kind == "directory":
        path.mkdir()
    elif kind == "unreadable":
        path.write_text("dataDir=/tmp\n")
        path.chmod(0)
    elif kind == "in a file":
        (tmp_path / "file").write_text("")
        path = tmp_path / "file" / "zoo.cfg"
    completed = run_script("zkServer.sh", verb, path, has_power=False)
    assert_one_line_of_advice(completed, "zoo.cfg")


@pytest.mark.parametrize("verb", ["stop", "start", "restart"])
def test_another_users_pid_file(path: Path, verb: str) -> None:
    require_powerless()
    others_pid_file(path.parent / "data")
    completed = run_script("zkServer.sh", verb, path, has_power=False)
    assert_one_line_of_advice(completed, "zookeeper_server.pid", "Give this user permission")


@pytest.mark.parametrize("verb", ["stop", "restart", "start"])
def test_another_users_server_is_left_alone(tmp_path: Path, verb: str) -> None:
    require_powerless()
    if os.geteuid():
        pytest.skip("needs the right to become another user: run the tests as root")
    path = write_zoo_cfg(tmp_path, ReservedPort())
    (tmp_path / "data").mkdir()
    program = (
        "import os, sys; from pathlib import Path; from zoolet.storage.disk import DirectoryLock;"
        "lock = DirectoryLock(Path(sys.argv[1])); lock.write_pid(); os.setuid(65534);"
        "print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / "data" / LOCK_NAME],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        # Without CAP_KILL root may signal only processes of its own user, like everybody.
        completed = run_script("zkServer.sh", verb, path, has_power=False)
        said = "already running as process" if verb == "start" else "belongs to another user"
        assert_one_line_of_advice(completed, said, str(other.pid))
        assert other.poll() is None


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("ZOO_LOG_DIR", "cannot write the server's log"),
        ("ZOOPIDFILE", "cannot write ZOOPIDFILE"),
    ],
)
@pytest.mark.parametrize("kind", ["in a file", "no right"])
def test_a_log_or_pid_file_that_cannot_be_written(
    path: Path, tmp_path: Path, variable: str, said: str, kind: str
) -> None:
    require_powerless()
    place = tmp_path / "place"
    if kind == "no right":
        place.mkdir(mode=0o555)
    else:
        place.write_text("")
    value = {variable: str(place if variable == "ZOO_LOG_DIR" else place / "pid")}
    completed = run_script("zkServer.sh", "start", path, variables=value, has_power=False)
    assert_one_line_of_advice(completed, said)
    assert not (tmp_path / "data" / LOCK_NAME).exists()


# --- Disks


@pytest.mark.parametrize("verb", VERBS)
def test_a_disk_that_is_full_before_the_first_start(small_disk: Path, verb: str) -> None:
    path = write_zoo_cfg(small_disk, ReservedPort())
    filler = fill(small_disk)
    completed = run_script("zkServer.sh", verb, path)
    assert_one_line_of_advice(completed, "No space left on device", "Free space on this disk")
    filler.unlink()
    assert run_script("zkServer.sh", "start", path).returncode == 0
    assert run_script("zkServer.sh", "stop", path).returncode == 0


@pytest.mark.parametrize("verb", VERBS)
def test_a_disk_that_is_full_after_the_log_was_opened(
    small_disk: Path, tmp_path: Path, verb: str
) -> None:
    """The data are on another disk than the log, and the other way round."""
    path = write_zoo_cfg(tmp_path, ReservedPort(), dataDir=small_disk / "data")
    (small_disk / "data" / "version-2").mkdir(parents=True)
    fill(small_disk)
    variables = {"ZOO_LOG_DIR": str(tmp_path / "logs")}
    completed = run_script("zkServer.sh", verb, path, variables=variables)
    assert_one_line_of_advice(completed, "No space left on device", "Free space on this disk")


def test_a_full_disk_of_the_log_stops_no_server(small_disk: Path, tmp_path: Path) -> None:
    path = write_zoo_cfg(tmp_path, ReservedPort())
    logs = small_disk / "logs"
    logs.mkdir()
    filler = fill(small_disk)
    variables = {"ZOO_LOG_DIR": str(logs)}
    started = run_script("zkServer.sh", "start", path, variables=variables)
    assert started.returncode == 0, started.stderr
    status = run_script("zkServer.sh", "status", path)
    assert "Mode: standalone" in status.stdout
    filler.unlink()
    stopped = run_script("zkServer.sh", "stop", path)
    assert "STOPPED" in stopped.stdout
    (log,) = logs.iterdir()
    wait_until(lambda: "stopped; every acknowledged change is on disk" in log.read_text(), "it")
    lost = "records before this one could not be written to the log"
    wait_until(lambda: lost in log.read_text(), "the number of lost records")


@pytest.mark.parametrize("verb", VERBS)
def test_a_file_system_that_is_read_only(tmp_path: Path, verb: str) -> None:
    with mounted(tmp_path / "disk") as disk:
        writer = Writer(disk / "data")
        writer.create("/a")
        writer.log.roll()
        path = write_zoo_cfg(tmp_path, ReservedPort(), dataDir=disk / "data")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        variables = {"ZOO_LOG_DIR": str(tmp_path / "logs")}
        completed = run_script("zkServer.sh", verb, path, variables=variables)
        assert_one_line_of_advice(completed, "Read-only file system", "mount it writable")


# --- The other commands


@pytest.mark.parametrize(
    "command",
    [
        "zkServer.sh version",
        "zkServer.sh print-cmd CONFIG",
        "zkServer.sh stop CONFIG",
        "zkServer.sh --help",
        "zoolet data check DATA",
        "zoolet data dump LOG",
        "zoolet data export DATA",
        "zoolet data history DATA /a",
        "zkTxnLogToolkit.sh LOG",
        "zkSnapShotToolkit.sh SNAPSHOT",
        "zkSnapshotComparer.sh -l SNAPSHOT -r SNAPSHOT -b 1 -n 1",
    ],
)
@pytest.mark.parametrize("has_reader", [False, True])
def test_output_that_cannot_be_written(path: Path, command: str, has_reader: bool) -> None:
    """On a full disk a command says so; if the reader of a pipe has ended, it just ends."""
    data = path.parent / "data"
    words = {
        "CONFIG": path,
        "DATA": data,
        "LOG": data / "version-2" / "log.3",
        "SNAPSHOT": data / "version-2" / "snapshot.2",
    }
    name, *arguments = command.split()
    full = [SCRIPTS / name, *(words.get(word, word) for word in arguments)]
    receiving, sending = os.pipe()
    os.close(receiving)
    with open(sending, "wb") as broken, Path("/dev/full").open("wb") as full_disk:  # noqa: PTH123
        completed = subprocess.run(
            full,
            stdout=broken if has_reader else full_disk,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert "Traceback" not in completed.stderr
    assert "Exception ignored" not in completed.stderr
    assert completed.returncode not in {0, 120}, completed
    if not has_reader:
        assert "No space left on device" in completed.stderr


@pytest.mark.parametrize(
    "command",
    [
        "data check DENIED",
        "data dump DENIED",
        "data dump DIRECTORY",
        "data diff DENIED DENIED",
        "data history DENIED /a",
        "data restore DATA --as-of 0x1 --to DENIED/new",
        "data restore DATA --as-of 0x1 --to FILE/new",
        "data export DATA DENIED/out",
        "data export DATA DIRECTORY",
        "data import DENIED NEW",
        "data purge DENIED",
        "server status DENIED",
    ],
)
def test_files_of_the_tools_that_cannot_be_used(path: Path, command: str) -> None:
    require_powerless()
    tmp_path = path.parent
    (tmp_path / "denied").mkdir(mode=0)
    (tmp_path / "file").write_text("")
    words = {
        "DENIED": "denied",
        "FILE": "file",
        "DIRECTORY": "data",
        "DATA": "data",
        "NEW": "new",
    }
    arguments = [
        str(tmp_path / words[first]) + (f"/{rest}" if rest else "") if first in words else word
        for word in command.split()
        for first, _, rest in [word.partition("/")]
    ]
    completed = run_script("zoolet", *arguments, has_power=False)
    assert completed.returncode in {1, 2}, completed
    assert "Traceback" not in completed.stderr
    assert completed.stderr.strip()
    assert "None" not in completed.stderr
