"""Reading audit logs: Apache's format and JSON, as a program that follows them would do it."""

import json
import re
from pathlib import Path

APACHE_HEAD = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|ERROR) +audit\.Slf4jAuditLogger: "
)
_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|([nrt\\]))")
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}
KEYS = ("session", "user", "ip", "operation", "znode", "znode_type", "acl", "result")


def unescaped(text: str) -> str:
    """Return the text that an escaped field stands for."""

    def replaced(found: re.Match[str]) -> str:
        digits = found[1] or found[2] or found[3]
        return chr(int(digits, 16)) if digits else _CONTROLS[found[4]]

    return _ESCAPE.sub(replaced, text)


def fields_of(line: str) -> dict[str, str]:
    """Return the fields of a line in Apache's format; each value is still escaped."""
    head = APACHE_HEAD.match(line)
    assert head is not None, line
    fields = [field.partition("=") for field in line[head.end() :].split("\t")]
    found = {key: value for key, _, value in fields}
    assert len(found) == len(fields), line
    assert list(found) == [key for key in KEYS if key in found], line
    assert (head[1] == "ERROR") == (found["result"] == "failure"), line
    return found


def lines_of(path: Path) -> list[str]:
    """Return the lines of a file; only a newline character ends a line."""
    text = path.read_bytes().decode()
    assert text == "" or text.endswith("\n")
    return text.split("\n")[:-1]


def records_of(path: Path) -> list[dict[str, str]]:
    """Return the records of an audit log in Apache's format."""
    return [fields_of(line) for line in lines_of(path)]


def json_records_of(path: Path) -> list[dict[str, object]]:
    """Return the records of an audit log in JSON."""
    return [json.loads(line) for line in lines_of(path)]
