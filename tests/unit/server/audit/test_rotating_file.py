"""The file of the audit log: rotation, modes, and failures that leave only whole lines."""

import os
import random
import resource
import signal
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from zoolet.server.audit.rotating_file import RotatingFile

HOUR_MS = 3_600_000
MODE = 0o600


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


def opened(path: Path, max_bytes: int = 1000, period_h: int = 0, kept: int = 3) -> RotatingFile:
    file = RotatingFile(path, max_bytes, period_h, kept, MODE)
    file.open()
    return file


def parts(path: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in path.parent.iterdir()}


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """Let no file of this process become longer: a write fails in the middle."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_lines_are_appended_to_what_is_there(path: Path) -> None:
    for line in (b"one\n", b"two\n"):
        file = opened(path)
        file.write(line, 0)
        file.close()
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_line_that_was_cut_off_is_ended_first(path: Path) -> None:
    path.write_bytes(b"one\ntw")
    opened(path).write(b"three\n", 0)
    assert path.read_bytes() == b"one\ntw\nthree\n"


def test_a_new_file_begins_at_the_size_limit(path: Path) -> None:
    file = opened(path, max_bytes=8)
    for number in range(7):
        file.write(b"%03d\n" % number, 0)
    assert parts(path) == {
        "audit.log": b"006\n",
        "audit.log.1": b"004\n005\n",
        "audit.log.2": b"002\n003\n",
        "audit.log.3": b"000\n001\n",
    }
    file.write(b"a long line\n", 0)
    file.write(b"b\n", 0)
    assert parts(path) == {
        "audit.log": b"b\n",
        "audit.log.1": b"a long line\n",
        "audit.log.2": b"006\n",
        "audit.log.3": b"004\n005\n",
    }


def test_a_new_file_begins_with_a_new_period(path: Path) -> None:
    file = opened(path, period_h=24)
    file.write(b"a\n", 100 * HOUR_MS * 24)
    file.write(b"b\n", 100 * HOUR_MS * 24 + 23 * HOUR_MS)
    file.write(b"c\n", 101 * HOUR_MS * 24)
    file.write(b"d\n", 200 * HOUR_MS * 24)
    assert parts(path) == {"audit.log": b"d\n", "audit.log.1": b"c\n", "audit.log.2": b"a\nb\n"}


def test_the_period_of_a_file_from_before_is_that_of_its_last_change(path: Path) -> None:
    path.write_bytes(b"old\n")
    os.utime(path, (HOUR_MS, HOUR_MS))
    file = opened(path, period_h=1)
    file.write(b"same\n", HOUR_MS * 1000)
    file.close()
    os.utime(path, (HOUR_MS, HOUR_MS))
    opened(path, period_h=1).write(b"new\n", HOUR_MS * 1001)
    assert parts(path) == {"audit.log": b"new\n", "audit.log.1": b"old\nsame\n"}


@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_the_mode_of_all_parts(path: Path, mode: int) -> None:
    path.write_bytes(b"x\n")
    path.chmod(0o666)
    file = RotatingFile(path, 1, 0, 3, mode)
    before = os.umask(0o777 if os.getuid() == 0 else 0)
    try:
        for _ in range(3):
            file.write(b"y\n", 0)
    finally:
        os.umask(before)
    assert len(parts(path)) == 4
    assert {stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()} == {mode}


def test_another_program_may_move_the_file(path: Path) -> None:
    file = opened(path)
    file.write(b"one\n", 0)
    path.rename(path.with_name("moved"))
    file.write(b"two\n", 0)
    path.unlink()
    file.write(b"three\n", 0)
    assert parts(path) == {"moved": b"one\n", "audit.log": b"three\n"}


def test_a_failed_write_leaves_no_part_of_a_line(path: Path) -> None:
    file = opened(path)
    file.write(b"one\n", 0)
    with files_of_at_most(7):
        with pytest.raises(OSError, match="File too large"):
            file.write(b"a longer line\n", 0)
        assert path.read_bytes() == b"one\n"
        file.write(b"ab\n", 0)
    file.write(b"three\n", 0)
    assert path.read_bytes() == b"one\nab\nthree\n"


def test_what_cannot_be_taken_back_is_a_line_of_its_own(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_fd: int, _size: int) -> None:
        raise OSError(5, "Input/output error")

    file = opened(path)
    monkeypatch.setattr(os, "ftruncate", fails)
    with files_of_at_most(3), pytest.raises(OSError, match="File too large"):
        file.write(b"a line\n", 0)
    file.write(b"next\n", 0)
    assert path.read_bytes() == b"a l\nnext\n"


def test_a_device_is_not_rotated() -> None:
    file = opened(Path("/dev/null"), max_bytes=1)
    for _ in range(3):
        file.write(b"x\n", 0)
    file = opened(Path("/dev/full"))
    with pytest.raises(OSError, match="No space left"):
        file.write(b"x\n", 0)


def test_a_rotation_that_fails_is_tried_again(path: Path) -> None:
    file = opened(path, max_bytes=4, kept=1)
    file.write(b"one\n", 0)
    part = path.with_name("audit.log.1")
    part.mkdir()
    (part / "x").touch()
    with pytest.raises(OSError, match="directory"):
        file.write(b"two\n", 0)
    (part / "x").unlink()
    part.rmdir()
    file.write(b"two\n", 0)
    assert path.read_bytes() == b"two\n"
    assert part.read_bytes() == b"one\n"


@pytest.mark.parametrize("seed", range(10))
def test_random_writes_and_failures(path: Path, seed: int) -> None:
    """Whatever fails, the parts have the newest of the written lines, in order."""
    chance = random.Random(seed)
    max_bytes, kept = chance.randrange(20, 200), chance.randrange(1, 4)
    file = RotatingFile(path, max_bytes, 0, kept, MODE)
    wanted: list[bytes] = []
    for number in range(300):
        line = b"%d %s\n" % (number, b"x" * chance.randrange(30))
        if chance.random() < 0.1:
            file.close()
        if chance.random() < 0.3:
            try:
                with files_of_at_most(chance.randrange(200)):
                    file.write(line, 0)
            except OSError:
                continue
        else:
            file.write(line, 0)
        wanted.append(line)
    names = [path.with_name(f"audit.log.{number}") for number in range(kept, 0, -1)]
    found = b"".join(each.read_bytes() for each in [*names, path] if each.exists())
    lines = found.splitlines(keepends=True)
    assert lines == wanted[-len(lines) :]
    assert len(parts(path)) == kept + 1


def test_a_file_that_another_program_has_emptied(path: Path) -> None:
    """As the option copytruncate of logrotate does it: the size is counted from there."""
    file = opened(path, max_bytes=20)
    for _ in range(5):
        file.write(b"a long line\n", 0)
        os.truncate(path, 0)
    assert list(parts(path)) == ["audit.log"]
    with files_of_at_most(3), pytest.raises(OSError, match="File too large"):
        file.write(b"a line\n", 0)
    assert path.read_bytes() == b""


def test_lines_of_another_server_are_not_removed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is full in the middle of a write; another server writes to it at this moment."""
    file, other = opened(path), opened(path)
    file.write(b"one\n", 0)
    other.write(b"two\n", 0)
    file.write(b"three\n", 0)
    real = os.fstat

    def meanwhile(descriptor: int) -> os.stat_result:
        monkeypatch.setattr(os, "fstat", real)
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        other.write(b"four\n", 0)
        return real(descriptor)

    monkeypatch.setattr(os, "fstat", meanwhile)
    with files_of_at_most(16), pytest.raises(OSError, match="File too large"):
        file.write(b"a line\n", 0)
    file.write(b"five\n", 0)
    assert path.read_bytes().splitlines() == [b"one", b"two", b"three", b"a four", b"five"]


@pytest.mark.skipif(os.getuid() != 0, reason="needs root: a file is made append-only")
def test_attempts_to_rotate_that_fail_lose_no_older_part(path: Path) -> None:
    """`chattr +a` protects an audit log from changes, and so from being renamed."""
    file = opened(path, max_bytes=4)
    for number in range(4):
        file.write(b"%03d\n" % number, 0)
    if subprocess.run(["chattr", "+a", path], capture_output=True, check=False).returncode:
        pytest.skip("needs a file system with the attribute append-only")
    try:
        for _ in range(5):
            with pytest.raises(PermissionError):
                file.write(b"new\n", 0)
    finally:
        subprocess.run(["chattr", "-a", path], check=True)
    assert [parts(path)[f"audit.log.{number}"] for number in (2, 3)] == [b"002\n", b"001\n"]
    file.write(b"new\n", 0)
    assert list(parts(path).values()).count(b"new\n") == 1
    assert b"003\n" in parts(path).values()


def test_a_symbolic_link_stays(tmp_path: Path, path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    path.symlink_to(disk / "audit")
    file = opened(path, max_bytes=4, kept=2)
    for number in range(4):
        file.write(b"%03d\n" % number, 0)
    assert [each.name for each in tmp_path.iterdir() if each != disk] == ["audit.log"]
    assert parts(disk / "audit") == {"audit": b"003\n", "audit.1": b"002\n", "audit.2": b"001\n"}


def test_the_standard_output_is_not_rotated(path: Path) -> None:
    with path.open("wb") as output:
        file = opened(Path(f"/proc/self/fd/{output.fileno()}"), max_bytes=1)
        for _ in range(3):
            file.write(b"x\n", 0)
        file.close()
    assert parts(path) == {"audit.log": b"x\nx\nx\n"}
