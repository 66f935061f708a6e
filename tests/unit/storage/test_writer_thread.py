"""The thread in C that writes to files: what it writes, what it reports, and what it refuses."""

import errno
import os
import random
import resource
import select
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from zoolet.storage.disk import MOST_ZEROS_BYTES

module = pytest.importorskip(
    "zoolet.storage.writer_thread", reason="the module is only in the compiled build"
)
WriterThread = module.WriterThread

TIMEOUT_S = 20


@pytest.fixture
def writer() -> Iterator[Any]:
    made = WriterThread()
    yield made
    made.close()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    path = tmp_path / "file"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_DSYNC)
    yield path, fd
    os.close(fd)


def is_readable(writer: Any, timeout_s: float) -> bool:
    return bool(select.select([writer.fileno()], [], [], timeout_s)[0])


def count(directory: str) -> int:
    return sum(1 for _ in Path(directory).iterdir())


def result(writer: Any) -> float:
    assert is_readable(writer, TIMEOUT_S)
    took_s = writer.finish()
    assert not is_readable(writer, 0)
    assert isinstance(took_s, float)
    return took_s


def test_it_writes_one_after_another(writer: Any, file: tuple[Path, int]) -> None:
    path, fd = file
    chance = random.Random(7)
    wanted = b""
    for _ in range(200):
        data = chance.randbytes(chance.choice([0, 1, 100, 5000, 300_000]))
        writer.write(fd, data)
        assert result(writer) >= 0
        wanted += data
    assert path.read_bytes() == wanted


def test_zeros_follow_the_data_until_the_next_write(writer: Any, file: tuple[Path, int]) -> None:
    """The model: each write goes to the end of the data, and its zeros are after it."""
    path, fd = file
    chance = random.Random(11)
    wanted, end = bytearray(), 0
    for _ in range(100):
        data = chance.randbytes(chance.choice([0, 1, 100, 5000]))
        zero_bytes = chance.choice([0, 0, 1, 4096, MOST_ZEROS_BYTES]) if data else 0
        writer.write(fd, data, zero_bytes)
        result(writer)
        written = data + bytes(zero_bytes)
        wanted[end : end + len(written)] = written
        end += len(data)
        assert os.lseek(fd, 0, os.SEEK_CUR) == end
    assert path.read_bytes() == wanted


def test_it_reports_the_error_of_a_write_and_continues(
    writer: Any, file: tuple[Path, int], tmp_path: Path
) -> None:
    path, fd = file
    full = os.open("/dev/full", os.O_WRONLY)
    closed = os.open(tmp_path, os.O_RDONLY)
    for bad, code in ((full, errno.ENOSPC), (closed, errno.EBADF), (-1, errno.EBADF)):
        writer.write(bad, b"x")
        with pytest.raises(OSError, match=os.strerror(code)) as raised:
            result(writer)
        assert raised.value.errno == code
        writer.write(fd, b"y")
        result(writer)
    os.close(full)
    os.close(closed)
    assert path.read_bytes() == b"yyy"


def test_a_write_that_is_cut_short_continues_and_reports_why(
    writer: Any, file: tuple[Path, int]
) -> None:
    path, fd = file
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        writer.write(fd, b"x" * 1500)
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            result(writer)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"x" * 1000


def test_a_write_whose_zeros_are_cut_short_succeeds(writer: Any, file: tuple[Path, int]) -> None:
    path, fd = file
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        for zero_bytes in (1000, 500):
            writer.write(fd, b"x" * 500, zero_bytes)
            result(writer)
        writer.write(fd, b"x", 1)
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            result(writer)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"x" * 1000


def test_a_blocked_write_blocks_nothing_else(writer: Any) -> None:
    source, sink = os.pipe()
    data = os.urandom(1 << 20)  # more than a pipe holds
    writer.write(sink, data)
    assert not is_readable(writer, 0)
    with pytest.raises(RuntimeError, match="the last write is not finished"):
        writer.write(sink, b"x")
    with pytest.raises(RuntimeError, match="no write has ended"):
        writer.finish()
    received = b""
    while len(received) < len(data):
        received += os.read(source, 1 << 16)
    result(writer)
    assert received == data
    os.close(source)
    os.close(sink)


def test_close_waits_for_the_write_in_progress_and_lets_threads_run(writer: Any) -> None:
    source, sink = os.pipe()
    data = bytes(1 << 20)
    received: list[int] = []

    def read() -> None:
        while sum(received) < len(data):
            received.append(len(os.read(source, 1 << 16)))

    writer.write(sink, data)
    reader = threading.Thread(target=read)
    reader.start()
    writer.close()
    assert writer.finish() >= 0
    reader.join(TIMEOUT_S)
    assert sum(received) == len(data)
    writer.close()
    with pytest.raises(RuntimeError, match="the thread is closed"):
        writer.write(sink, b"x")
    os.close(source)
    os.close(sink)


def test_many_threads_come_and_go(file: tuple[Path, int]) -> None:
    """Also without ``close``, and with a result that nobody takes."""
    path, fd = file
    descriptors = count("/proc/self/fd")
    threads = count("/proc/self/task")
    for number in range(100):
        made = WriterThread()
        made.write(fd, b"x")
        if number % 2:
            made.close()
        del made
    assert path.read_bytes() == b"x" * 100
    assert count("/proc/self/fd") == descriptors
    assert count("/proc/self/task") == threads


def test_without_descriptors_there_is_an_error() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = os.dup(0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken, before[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            WriterThread()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        os.close(taken)


def test_wrong_arguments_are_refused(writer: Any, file: tuple[Path, int]) -> None:
    _, fd = file
    for arguments in ((), (fd,), (fd, "text"), ("1", b"x"), (fd, b"x", "1"), (1 << 40, b"x")):
        with pytest.raises((TypeError, OverflowError)):
            writer.write(*arguments)
    for zero_bytes in (-1, MOST_ZEROS_BYTES + 1):
        with pytest.raises(ValueError, match=f"{zero_bytes} zeros"):
            writer.write(fd, b"x", zero_bytes)
    writer.write(fd, b"still empty")
    result(writer)
