"""A command gets its input, and it ends with all of its descendants."""

import os
import random
import sys
import threading
from pathlib import Path

import pytest

from tests.support.waiting import WAIT_S, wait_until
from zoolet.jobs.execution.command import OUTPUT_BYTES, Command, Ended

if sys.platform == "win32":
    pytest.skip("a command needs a watcher, which needs POSIX", allow_module_level=True)

LEAVE = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(sys.argv[1], "w").write(str(os.getpid()) + "\\n")
    time.sleep(600)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
"""
"""Starts a process in a session of its own, whose parent has another session, too."""


def python(source: str, *arguments: str, timeout_s: float = WAIT_S) -> Command:
    return Command([sys.executable, "-c", source, *arguments], timeout_s)


def run(command: Command, data: bytes = b"", **environment: str) -> Ended:
    return command.run(data, os.environ | environment)


def is_alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_a_command_gets_its_input_and_environment() -> None:
    source = "import os, sys; print(sys.stdin.read(), os.environ['WORD'], sys.argv[1:])"
    ended = run(python(source, "a b", "$WORD"), b"input\n", WORD="word")
    assert ended == Ended(None, b"input\n word ['a b', '$WORD']\n", 0)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("raise SystemExit(3)", "its exit status is 3"),
        ("import os; os.kill(os.getpid(), 9)", "it was ended by SIGKILL"),
        ("import os; os.kill(os.getpid(), 15)", "it was ended by SIGTERM"),
    ],
)
def test_an_error_says_how_the_command_has_ended(source: str, error: str) -> None:
    assert run(python(source)).error == error


def test_a_program_that_does_not_exist_is_an_error() -> None:
    ended = run(Command(["no-such-program-anywhere"], WAIT_S))
    assert ended.error == "its exit status is 127"
    assert b"no-such-program-anywhere: No such file" in ended.output


def test_arguments_that_no_program_can_have_are_an_error() -> None:
    assert "cannot be started" in str(run(Command(["echo", "a\0b"], WAIT_S)).error)
    assert "cannot be started" in str(run(python("pass"), X="a\0b").error)


def test_large_input_that_is_not_read_and_large_output_do_not_block() -> None:
    size_bytes = 3_000_000
    ended = run(python(f"import sys; sys.stdout.write('x' * {size_bytes})"), b"y" * size_bytes)
    assert ended == Ended(None, b"x" * OUTPUT_BYTES, size_bytes - OUTPUT_BYTES)


def test_a_command_that_takes_too_long_is_ended() -> None:
    source = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
    ended = run(python(source, timeout_s=0.3))
    assert ended.error == "it did not end within 0.3 s"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux finds processes of other sessions")
def test_descendants_end_with_the_command(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    ended = run(python(LEAVE, str(file)))
    assert ended.error is None
    assert not is_alive(int(file.read_text()))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux finds processes of other sessions")
def test_a_stop_ends_all_runs_and_later_ones(tmp_path: Path) -> None:
    command = python(LEAVE + "time.sleep(600)", str(tmp_path / "pid"))
    found: list[Ended] = []
    threads = [threading.Thread(target=lambda: found.append(run(command))) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_until((tmp_path / "pid").exists, "a command that runs")
    command.stop()
    for thread in threads:
        thread.join(WAIT_S)
    assert len(found) == 3
    assert all(ended.error is not None for ended in found)
    assert run(command).error == "the worker stops"
    wait_until(lambda: (tmp_path / "pid").read_text().endswith("\n"), "the pid")
    assert not is_alive(int((tmp_path / "pid").read_text()))


def test_random_commands_leave_no_descriptors() -> None:
    chance = random.Random(20261130)
    sources = ("pass", "print('x' * 70000)", "raise SystemExit(1)", "import os; os.close(1)", "?")
    run(python("pass"))
    before = len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else 0
    for _ in range(15):
        run(python(chance.choice(sources)), bytes(chance.randrange(100_000)))
    after = len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else 0
    assert after == before
