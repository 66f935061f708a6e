"""The server's log: lines that no client can forge, JSON, and a file that may be moved or cut."""

import json
import logging
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from zoolet.server.logs.logs import JsonFormatter, LogHandler, TextFormatter

NASTY = [
    "\n",
    "\r\n",
    "\t",
    "\x1b[31m",
    "\x00",
    "\x7f",
    "\x85",
    "\x9b1m",
    "\u2028",
    "\u202e",
    "\ud800",
]


def record(message: str, *args: object, failure: Exception | None = None) -> logging.LogRecord:
    info = None if failure is None else (type(failure), failure, failure.__traceback__)
    return logging.LogRecord("zoolet.x", logging.WARNING, "", 0, message, args, info)


def written(formatter: logging.Formatter, *records: logging.LogRecord) -> bytes:
    """Return what a handler writes."""
    receiving, sending = os.pipe()
    handler = LogHandler(sending)
    handler.setFormatter(formatter)
    for each in records:
        handler.emit(each)
    os.close(sending)
    with open(receiving, "rb") as file:  # noqa: PTH123 -- a descriptor
        return file.read()


@pytest.mark.parametrize("nasty", NASTY)
def test_text_of_a_client_is_one_line_without_control_characters(nasty: str) -> None:
    forged = f"/a{nasty}2026-01-01 00:00:00,000 ERROR zoolet: forged"
    line = written(TextFormatter(), record("path %s", forged))
    assert line.count(b"\n") == 1
    text = line.decode()
    assert text.rstrip("\n").isprintable()
    assert "WARNING zoolet.x: path /a" in text


@pytest.mark.parametrize("nasty", NASTY)
def test_a_json_record_is_one_line(nasty: str) -> None:
    line = written(JsonFormatter(), record("path %s", f"/a{nasty}b"))
    assert line.count(b"\n") == 1
    shown = json.loads(line)
    assert (shown["message"], shown["level"]) == (f"path /a{nasty}b", "warning")
    assert shown["logger"] == "zoolet.x"
    assert shown["time"].endswith("+00:00")


def test_any_text_is_one_line_in_both_formats() -> None:
    chance = random.Random(16)
    for _ in range(300):
        text = "".join(chr(chance.randrange(0x3000)) for _ in range(20))
        for formatter in (TextFormatter(), JsonFormatter()):
            line = written(formatter, record("%s", text)).decode()
            assert len(line.splitlines()) == 1
            assert not any(ord(each) < 32 or 0x7F <= ord(each) < 0xA0 for each in line[:-1])


def test_a_traceback_cannot_be_taken_for_records() -> None:
    try:
        int("bad\n2026-01-01 00:00:00,000 ERROR zoolet: forged\x1b[2J")
    except ValueError as error:
        failure = ValueError(f"bad\n2026-01-01 ERROR zoolet: forged\x1b[2J {error}")
        failure.__traceback__ = error.__traceback__
    first, *others = (
        written(TextFormatter(), record("it failed", failure=failure)).decode().splitlines()
    )
    assert first.endswith("WARNING zoolet.x: it failed")
    assert others
    assert all(line.startswith("    ") and line.isprintable() for line in others)
    shown = json.loads(written(JsonFormatter(), record("it failed", failure=failure)))
    assert "ValueError: bad\n" in shown["exception"]


@pytest.mark.parametrize("path", ["/dev/full", "closed", "no reader"])
def test_records_that_cannot_be_written_are_counted(path: str, tmp_path: Path) -> None:
    receiving, sending = os.pipe()
    if path == "/dev/full":
        os.dup2(os.open(path, os.O_WRONLY), sending)
    elif path == "closed":
        os.close(sending)
    os.close(receiving)
    handler = LogHandler(sending)
    handler.setFormatter(TextFormatter())
    for number in range(3):
        handler.emit(record("lost %d", number))
    log = tmp_path / "log"
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT), sending)
    handler.emit(record("kept"))
    handler.emit(record("kept, too"))
    os.close(sending)
    lost, kept, kept_too = log.read_text().splitlines()
    assert "3 records before this one could not be written to the log" in lost
    assert kept.endswith("kept")
    assert kept_too.endswith("kept, too")


def test_a_wrong_call_of_the_log_fails_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert written(TextFormatter(), record("%d", "no number"), record("next")).endswith(b"next\n")
    assert "no number" in capsys.readouterr().err


PROGRAM = """
import logging, sys
from pathlib import Path
from zoolet.server.logs.logs import LogFormat, set_up
path = Path(sys.argv[1])
reopen = set_up("info", LogFormat.TEXT, path if sys.argv[2] == "file" else None)
log = logging.getLogger("zoolet.x")
log.debug("not shown")
log.info("first")
print("what a library prints", flush=True)
exec(sys.argv[3])
reopen()
log.info("last")
"""


def run_program(path: Path, kind: str, between: str) -> "subprocess.CompletedProcess[str]":
    with path.with_name("stderr").open("a") as stderr:
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, path, kind, between],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            timeout=60,
            check=True,
        )


def test_a_log_that_was_moved_away_begins_again_after_reopening(tmp_path: Path) -> None:
    path, moved = tmp_path / "log", tmp_path / "log.1"
    path.write_text("from an earlier run\n")
    run_program(path, "file", "path.rename(path.with_name('log.1')); log.info('to the old file')")
    assert [line.rpartition(": ")[2] for line in moved.read_text().splitlines()] == [
        "from an earlier run",
        "first",
        "what a library prints",
        "to the old file",
    ]
    assert [line.rpartition(": ")[2] for line in path.read_text().splitlines()] == [
        f"the log file {path} was reopened",
        "last",
    ]


def test_a_log_that_was_cut_short_goes_on_at_its_beginning(tmp_path: Path) -> None:
    """As logrotate's copytruncate does it. Without O_APPEND the file would begin with zeros."""
    path = tmp_path / "log"
    run_program(path, "file", "path.write_text('')")
    assert path.read_text().count("\n") == 2
    assert "\0" not in path.read_text()
    # The same for a file behind standard error, which the server has not opened itself.
    run_program(path, "stderr", "path.with_name('stderr').write_text('')")
    assert "\0" not in (tmp_path / "stderr").read_text()
    assert "there is no log file to reopen" in (tmp_path / "stderr").read_text()


def test_a_log_that_cannot_be_reopened_stays(tmp_path: Path) -> None:
    path = tmp_path / "log"
    run_program(path, "file", "path.rename(path.with_name('log.1')); path.mkdir()")
    text = (tmp_path / "log.1").read_text()
    assert "the log file cannot be reopened, so the server uses the old one" in text
    assert text.endswith("last\n")
