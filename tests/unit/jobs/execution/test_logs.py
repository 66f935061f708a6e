"""The log of a worker: each record has its label, and no text looks like another record."""

import io
import json
import logging
import threading

import pytest

from zoolet.jobs.execution.logs import Label, LogFormat, labelled, record_of, set_up, tell

LABEL = Label("entry-000-d:1-0000000007", "m:f", 2)
ATTACK = "one\n2026-01-01 00:00:00,000 ERROR   root: forged\x1b[31m\r\u2028\ud800"


@pytest.fixture
def stream() -> io.StringIO:
    """What the log is written to, instead of standard error."""
    return io.StringIO()


@pytest.mark.parametrize("text", [ATTACK, "%s %d", "", "a" * 100_000])
def test_text_of_others_is_one_record(stream: io.StringIO, text: str) -> None:
    set_up("info", LogFormat.TEXT, stream)
    tell(logging.getLogger("some"), logging.WARNING, LABEL, text)
    first, *others = stream.getvalue().removesuffix("\n").split("\n")
    assert "WARNING some: [entry-000-d:1-0000000007 m:f attempt 2] " in first
    assert all(line.startswith("    ") for line in others)
    assert stream.getvalue().replace("\n", "").isprintable()
    assert stream.getvalue().encode()


@pytest.mark.parametrize("text", [ATTACK, "%s", ""])
def test_a_json_record_is_one_line_with_the_label(stream: io.StringIO, text: str) -> None:
    set_up("info", LogFormat.JSON, stream)
    logging.getLogger().handle(record_of("some", logging.ERROR, LABEL, text, 1.5))
    assert json.loads(stream.getvalue()) == {
        "time": "1970-01-01T00:00:01.500+00:00",
        "level": "error",
        "logger": "some",
        "message": text,
        "job": LABEL.job,
        "task": "m:f",
        "attempt": 2,
    }
    assert stream.getvalue().count("\n") == 1


@pytest.mark.parametrize(("level", "expected"), [("warning", 1), ("info", 2), ("debug", 3)])
def test_the_level_decides(stream: io.StringIO, level: str, expected: int) -> None:
    set_up(level, LogFormat.TEXT, stream)
    for severity in (logging.DEBUG, logging.INFO, logging.WARNING):
        tell(logging.getLogger("some"), severity, Label(process=7), "text")
    assert stream.getvalue().count("[executor process 7] text") == expected


def test_a_record_of_a_thread_has_the_label_of_the_thread(stream: io.StringIO) -> None:
    set_up("info", LogFormat.JSON, stream)
    log = logging.getLogger("some")
    with labelled(LABEL):
        log.info("%s of %d", "one", 2)
        other = threading.Thread(target=log.info, args=("other",))
        other.start()
        other.join()
    log.info("after")
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(one["message"], one.get("attempt")) for one in found] == [
        ("one of 2", 2), ("other", None), ("after", None),
    ]  # fmt: skip


def test_an_exception_is_indented(stream: io.StringIO) -> None:
    set_up("info", LogFormat.TEXT, stream)
    try:
        int(ATTACK)
    except ValueError:
        logging.getLogger("some").exception("it failed")
    first, *others = stream.getvalue().splitlines()
    assert first.endswith("ERROR   some: it failed")
    assert all(line.startswith("    ") for line in others)
