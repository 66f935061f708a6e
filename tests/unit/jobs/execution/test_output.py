"""The output of an executor's process: each line is put down to its attempt, within limits."""

import io
import json
import logging
import os
import random
import select
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.waiting import wait_until
from zoolet.jobs.execution import output
from zoolet.jobs.execution.capture import END, RECORD_END, RECORD_PART, token_bytes
from zoolet.jobs.execution.logs import Label
from zoolet.jobs.execution.output import (
    KEPT_CHARACTERS,
    KEPT_LINES,
    READ_BYTES,
    AttemptOutput,
    LogRecord,
    OutputLog,
    OutputParser,
    ProcessOutput,
    ReadCount,
)

CHILD = """
import ctypes, json, logging, os, subprocess, sys, threading, warnings
from zoolet.jobs.execution.capture import Capture
capture = Capture(int(sys.argv[1]), int(sys.argv[2]), "secret")
capture.log(logging.INFO)
told = os.fdopen(int(sys.argv[3]), "w")
print(json.dumps(capture.end_attempt()), file=told, flush=True)
for line in sys.stdin:
    try:
        exec(json.loads(line))
    except Exception as error:
        os.write(int(sys.argv[1]), repr(error).encode())
    print(json.dumps(capture.end_attempt()), file=told, flush=True)
"""


class Gathered(OutputLog):
    """Gathers what would be logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[tuple[Label, LogRecord]] = []

    def put(self, label: Label, item: LogRecord) -> None:
        self.records.append((label, item))

    def of(self, job: str | None) -> list[str]:
        return [item.text for label, item in self.records if label.job == job]


class Child:
    """A process whose output is captured, and that runs what a test tells it."""

    def __init__(self) -> None:
        self.reading, writing = os.pipe()
        os.set_blocking(self.reading, False)
        told, told_write = os.pipe()
        count = ReadCount()
        self.log = Gathered()
        self.output = ProcessOutput(self._read, count, "secret", self.log)
        passed = (writing, count.descriptor, told_write)
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, *map(str, passed)],
            stdin=subprocess.PIPE,
            pass_fds=passed,
        )
        os.close(writing)
        os.close(told_write)
        count.close_descriptor()
        self._count = count
        self.told = os.fdopen(told, "rb", buffering=0)
        self.had_output: list[bool] = []
        self.output.started(self.process.pid)
        self.output.ready(has_output=self._wait())

    def _read(self) -> bytes:
        try:
            return os.read(self.reading, READ_BYTES)
        except BlockingIOError:
            return b""

    def _wait(self) -> bool:
        """Wait until the process tells of an end, as an executor's thread does."""
        poll = select.poll()
        poll.register(self.told, select.POLLIN)
        poll.register(self.reading, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll(30_000)}
            assert ready, "the process says nothing"
            self.output.read()
            if self.told.fileno() in ready:
                return bool(json.loads(self.told.readline()))
            self.output.settle()

    def begin(self, name: str, code: str) -> None:
        self.output.attempt_began(name, Label(name, "m:f", 1))
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(code).encode() + b"\n")
        self.process.stdin.flush()

    def run(self, name: str, code: str) -> str:
        """Run code as an attempt, and return the last lines of its output."""
        self.begin(name, code)
        self.had_output.append(self._wait())
        return self.output.attempt_ended(name, has_output=self.had_output[-1])

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.told.close()
        os.close(self.reading)
        self._count.close()


@pytest.fixture
def child() -> Iterator[Child]:
    made = Child()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("print('one'); print('two', file=sys.stderr)", ["one", "two"]),
        ("print('no end', end='')", ["no end"]),
        ("os.write(1, b'one\\ntw'); os.write(2, b'o\\n')", ["one", "two"]),
        ("os.write(1, b'\\xff\\x00\\x1b[31m\\n')", ["\\xff\\x00\\x1b[31m"]),
        ("subprocess.run(['sh', '-c', 'echo one; echo two >&2'])", ["one", "two"]),
        ("ctypes.CDLL(None).printf(b'from C')", ["from C"]),
        ("ctypes.CDLL(None).puts(b'from C'); print('then')", ["from C", "then"]),
        ("print('10%\\r20%\\r30%')", ["30%"]),
        ("print('\\ud800 \\U0001f600')", ["\\ud800 \U0001f600"]),
        ("sys.stdout.write('x'); sys.stdout = None", ["x"]),
    ],
)
def test_what_is_printed_is_the_attempts(child: Child, code: str, lines: list[str]) -> None:
    assert child.run("a", code) == "\n".join(lines)
    assert child.log.of("a") == lines
    assert child.had_output == [True]
    # What the worker reads at the end of an attempt may count twice: then the next one tells.
    for _ in range(10):
        assert child.run("b", "pass") == ""
        if not child.had_output[-1]:
            break
    assert not child.had_output[-1]
    assert child.run("c", "print('still there')") == "still there"
    assert child.had_output[-1]


def test_records_of_the_log_and_warnings_have_their_level(child: Child) -> None:
    code = """
log = logging.getLogger("some.logger")
log.debug("not wanted")
log.error("%s of\\n%s", 1, "x" * 9000)
warnings.warn("careful", stacklevel=1)
try:
    1 / 0
except ZeroDivisionError:
    log.exception("it failed")
log.error("%d", "no number")
print("printed")
"""
    last = child.run("a", code)
    records = [(item.name, item.level, item.text) for _, item in child.log.records]
    assert records[0] == ("some.logger", logging.ERROR, f"1 of\n{'x' * 9000}")
    assert records[1][:2] == ("py.warnings", logging.WARNING)
    assert "UserWarning: careful" in records[1][2]
    assert records[2][2].startswith("it failed\nTraceback")
    assert records[-1] == (output.__name__, logging.INFO, "printed")
    assert any("--- Logging error ---" in text for _, _, text in records)
    assert last.endswith("\nprinted")
    assert {label for label, _ in child.log.records} == {Label("a", "m:f", 1)}


@pytest.mark.parametrize(
    "spoil",
    [
        "os.close(1); os.close(2)",
        "sys.stdout.close(); sys.stderr.close()",
        "os.dup2(os.open('/dev/null', os.O_WRONLY), 1)",
        "sys.stdout = sys.stderr = 7",
        "logging.disable(logging.NOTSET); sys.stdout.reconfigure(line_buffering=False)",
        "os.set_blocking(1, False)",
    ],
)
def test_what_a_task_does_to_its_output_ends_with_it(child: Child, spoil: str) -> None:
    child.run("a", spoil)
    assert child.run("b", "print('one'); os.write(2, b'two')") == "one\ntwo"
    assert child.run("c", "subprocess.run(['echo', 'three'])") == "three"


def test_much_output_blocks_nobody_and_is_left_out(
    child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "LOGGED_BYTES", 10_000)
    last = child.run("a", "for n in range(300_000): print(f'line {n} ' + 'x' * 30)")
    assert last.split("\n")[-1] == f"line 299999 {'x' * 30}"
    assert len(last.split("\n")) == KEPT_LINES
    logged = child.log.of("a")
    assert sum(map(len, logged)) < 11_000
    assert "bytes of output are left out" in logged[-1]
    assert child.run("b", "print('again')") == "again"
    assert child.log.of("b") == ["again"]


def test_a_long_line_leaves_room_for_the_lines_before_it() -> None:
    kept = AttemptOutput(Label("a"))
    modules = b"module, " * 500
    kept.add(b"the reason\nExtension modules: " + modules + b"the end\n", OutputLog())
    last = kept.last_lines()
    assert last.startswith("the reason\nExtension modules: module")
    assert last.endswith("the end")
    assert len(last) == KEPT_CHARACTERS


@pytest.mark.parametrize("length", [5000, 5_000_000])
def test_a_long_line_is_cut(child: Child, length: int) -> None:
    last = child.run("a", f"print('x' * {length}); print('end')")
    assert last.endswith("x\nend")
    assert len(last) == KEPT_CHARACTERS
    first, *_, end = child.log.of("a")
    assert first.startswith("x" * output.LINE_CHARACTERS)
    assert len(first) < output.LINE_CHARACTERS + 50
    assert end == "end" or "left out" in end


def test_what_is_printed_between_attempts_is_no_attempts(child: Child) -> None:
    reading, writing = os.pipe()
    path = f"/proc/{os.getpid()}/fd/{reading}"
    child.run("a", f"kept = subprocess.Popen(['sh', '-c', 'read x < {path}; echo late'])")
    os.write(writing, b"now\n")
    wait_until(child.output.read, "the line did not come")
    child.output.settle()
    assert child.log.of(None) == ["late"]
    assert child.log.records[-1][0] == Label(process=child.process.pid)
    assert child.run("b", "kept.wait(); print('b')") == "b"
    os.close(reading)
    os.close(writing)


def test_what_a_process_leaves_when_it_dies_is_its_attempts(child: Child) -> None:
    child.begin("a", "print('before'); ctypes.string_at(0)")
    child.process.wait(30)
    last = child.output.process_ended("a")
    assert last.startswith("before\n")
    assert "Fatal Python error: Segmentation fault" in last
    assert child.log.of("a")[0] == "before"


@pytest.mark.parametrize("seed", range(3))
def test_any_attempts_have_their_own_output(child: Child, seed: int) -> None:
    chance = random.Random(seed)
    ways = [
        "print({!r})",
        "os.write(2, {!r}.encode() + b'\\n')",
        "logging.warning({!r})",
        "subprocess.run(['echo', {!r}])",
        "ctypes.CDLL(None).puts({!r}.encode())",
        "(lambda t: (t.start(), t.join()))(threading.Thread(target=print, args=({!r},)))",
    ]
    for number in range(40):
        lines = [
            f"{number}-{n} {'y' * chance.choice([0, 10, 3000])}" for n in range(chance.randrange(4))
        ]
        code = "; ".join(chance.choice(ways).format(line.strip()) for line in lines) or "pass"
        child.run(f"{number}", code)
        assert child.log.of(f"{number}") == [line.strip() for line in lines], code
    assert child.log.of(None) == []


@pytest.mark.parametrize("seed", range(20))
def test_any_pieces_are_put_together(seed: int) -> None:
    chance = random.Random(seed)
    token = token_bytes("secret")
    record = json.dumps({"name": "n", "level": 20, "text": "t" * 500, "created_s": 1.0}).encode()
    data, expected = b"", []
    for number in range(30):
        text = chance.choice([b"", b"\0", b"\0zoolet-", b"line\n", token[:-1], b"x" * 9000])
        number_bytes = b"%d:" % number
        end = chance.choice(
            [
                token + END + b"\n",
                token + RECORD_END + number_bytes + record + b"\n",
                token + RECORD_PART + number_bytes + record[:100] + b"\n"
                + token + RECORD_END + number_bytes + record[100:] + b"\n",
            ]
        )  # fmt: skip
        data += text + end
        expected.append((text, b"end" if end == token + END + b"\n" else b"record"))
    parser = OutputParser(token)
    found: list[Any] = []
    while data:
        size = chance.choice([1, 7, 100, 5000])
        found += parser.feed(data[:size])
        data = data[size:]
    texts, current = [], b""
    for item in found:
        if isinstance(item, bytes):
            current += item
        else:
            texts.append((current, b"record" if isinstance(item, LogRecord) else b"end"))
            current = b""
    assert texts == expected
    assert current == b""


def test_the_log_leaves_out_what_it_cannot_write_in_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(output, "WAITING_BYTES", 1000)
    caplog.set_level(logging.INFO)
    blocked = OutputLog()
    held = logging.StreamHandler(io.StringIO())
    held.acquire()
    logger = logging.getLogger("held")
    logger.addHandler(held)
    try:
        for _ in range(100):
            blocked.put(Label("a"), LogRecord("held", logging.INFO, "x" * 100, None))
    finally:
        held.release()
    blocked.close()
    logger.removeHandler(held)
    assert 5 < sum(record.name == "held" for record in caplog.records) < 20
