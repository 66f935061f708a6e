"""The lock of a directory: one holder at a time, also while its file is removed and made again."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from zoolet.storage.disk import DirectoryLock, Disk
from zoolet.storage.errors import StorageError
from zoolet.storage.files import LOCK_NAME, DataDirectories

PROCESSES = 200
TAKES = 1
MANY_PROCESSES = """
import os, sys, traceback
from pathlib import Path
from zoolet.storage.disk import DirectoryLock

directory, processes, takes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
barrier, go = os.pipe()

def take(holder):
    # Who holds the lock is alone: it can create the file, and finds it again at the end.
    try:
        lock = DirectoryLock(directory / "pid")
    except BlockingIOError:
        return False
    os.close(os.open(holder, os.O_CREAT | os.O_EXCL))
    lock.write_pid()
    os.sched_yield()
    assert (directory / "pid").read_text() == f"{os.getpid()}\\n"
    os.unlink(holder)
    lock.release()
    return True

children = []
for _ in range(processes):
    child = os.fork()
    if not child:
        os.close(go)
        os.read(barrier, 1)
        try:
            taken = 0
            while taken < takes:
                taken += take(directory / "holder")
                os.sched_yield()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    children.append(child)
os.close(go)
statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
sys.exit(sum(statuses))
"""


def test_200_servers_start_and_stop_at_once(tmp_path: Path) -> None:
    """Each waits for the lock and takes it: never do two have it, and no file stays."""
    arguments = [str(tmp_path), str(PROCESSES), str(TAKES)]
    completed = subprocess.run(
        [sys.executable, "-c", MANY_PROCESSES, *arguments],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert (completed.returncode, completed.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_there_while_the_lock_is_held(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    for _ in range(3):
        lock = DirectoryLock(path)
        with pytest.raises(BlockingIOError):
            DirectoryLock(path)
        assert path.exists()
        lock.release()
        assert not path.exists()


def test_a_file_that_a_dead_process_left_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text("123456 and more than a pid\n")
    lock = DirectoryLock(path)
    lock.write_pid()
    assert path.read_text().strip().isdigit()
    lock.release()
    assert not path.exists()


def test_the_file_of_another_server_is_not_removed(tmp_path: Path) -> None:
    """An operator removed the first one's file; who has no file locks nobody out."""
    path = tmp_path / "pid"
    first = DirectoryLock(path)
    path.unlink()
    second = DirectoryLock(path)
    second.write_pid()
    first.release()
    assert path.read_text().strip().isdigit()
    with pytest.raises(BlockingIOError):
        DirectoryLock(path)
    second.release()
    assert not path.exists()


def test_a_file_removed_between_open_and_lock_is_not_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the 200 processes come across by chance, here each time: three removals in a row."""
    path = tmp_path / "pid"
    removals = iter([True, True, True, False])
    lock_file = DirectoryLock._is_named

    def removed_first(lock: DirectoryLock) -> bool:
        if next(removals, False):
            path.unlink()
        return lock_file(lock)

    monkeypatch.setattr(DirectoryLock, "_is_named", removed_first)
    lock = DirectoryLock(path)
    with pytest.raises(BlockingIOError):
        DirectoryLock(path)
    lock.release()


def test_a_file_that_is_always_removed_ends_the_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DirectoryLock, "_is_named", lambda _lock: False)
    with pytest.raises(BlockingIOError):
        DirectoryLock(tmp_path / "pid")


def test_a_lost_directory_does_not_fail_the_release(tmp_path: Path) -> None:
    directory = tmp_path / "gone"
    directory.mkdir()
    lock = DirectoryLock(directory / "pid")
    (directory / "pid").unlink()
    directory.rmdir()
    lock.release()


def test_both_directories_are_free_again_if_the_second_is_taken(tmp_path: Path) -> None:
    directories = DataDirectories.of(tmp_path / "data", tmp_path / "logs")
    directories.prepare(Disk())
    other = Disk().lock(tmp_path / "logs" / LOCK_NAME)
    other.write_pid()
    with pytest.raises(StorageError, match=r"already running as process \d+: another server has"):
        directories.lock(Disk())
    assert not (tmp_path / "data" / LOCK_NAME).exists()
    other.release()
    for lock in directories.lock(Disk()):
        lock.release()
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == []


@pytest.mark.parametrize(
    "before", ["", "999999999\n"], ids=["nothing", "the pid of a dead process"]
)
def test_a_pid_that_is_written_after_the_lock_is_waited_for(tmp_path: Path, before: str) -> None:
    directories = DataDirectories.of(tmp_path, tmp_path)
    directories.prepare(Disk())
    (tmp_path / LOCK_NAME).write_text(before)
    other = Disk().lock(tmp_path / LOCK_NAME)
    writer = threading.Timer(0.2, other.write_pid)
    writer.start()
    with pytest.raises(StorageError, match=f"already running as process {os.getpid()}: another"):
        directories.lock(Disk())
    writer.join()
    other.release()


def test_the_pid_of_a_dead_process_is_not_told(tmp_path: Path) -> None:
    directories = DataDirectories.of(tmp_path, tmp_path)
    directories.prepare(Disk())
    (tmp_path / LOCK_NAME).write_text("999999999\n")
    other = Disk().lock(tmp_path / LOCK_NAME)
    with pytest.raises(StorageError, match=r"^already running: another server has"):
        directories.lock(Disk())
    other.release()


def test_a_directory_that_can_be_written_keeps_no_trace_of_the_check(tmp_path: Path) -> None:
    directories = DataDirectories.of(tmp_path / "data", tmp_path / "logs")
    directories.prepare(Disk())
    # A server that was killed during its check has left this.
    (directories.logs / "unfinished.probe").write_bytes(b"x")
    directories.check_writable(Disk())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
