"""How things look that the shell prints."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoolet.console.texts import counted
from zoolet.model.acl import ACL, Id
from zoolet.model.acl_texts import format_acl
from zoolet.model.stat import Stat
from zoolet.shell.errors import UsageError
from zoolet.shell.formatting import (
    format_data,
    format_hexdump,
    format_names,
    format_stat,
    indent_json,
    is_json,
    read_acl,
    stat_value,
)

STAT = Stat(16, 17, 0, 0, 1, 2, 3, -1, 5, 6, 18)


@pytest.mark.parametrize(
    ("data", "text"),
    [(None, "null"), (b"", ""), ("grün".encode(), "grün"), (b"a\xff\x00", "a\\xff\x00")],
)
def test_data_is_text_where_it_is_text(data: bytes | None, text: str) -> None:
    assert format_data(data) == text


def test_a_hexdump_has_its_frame() -> None:
    assert format_hexdump(b"") == ""
    lines = format_hexdump(b"0123456789abcdef\n\xff ").splitlines()
    assert len(lines) == 6
    assert {len(line) for line in lines[2:]} == {77}
    assert lines[3].endswith("|0123456789abcdef|")
    assert lines[4].startswith("|00000010| 0a ff 20 ")
    assert lines[4].endswith("|.. " + " " * 13 + "|")


def test_a_stat_has_the_original_s_names() -> None:
    lines = dict(line.split(" = ") for line in format_stat(STAT).splitlines())
    assert list(lines) == [
        *("cZxid", "ctime", "mZxid", "mtime", "pZxid", "cversion", "dataVersion", "aclVersion"),
        *("ephemeralOwner", "dataLength", "numChildren"),
    ]
    assert (lines["cZxid"], lines["ephemeralOwner"]) == ("0x10", "0xffffffffffffffff")
    assert lines["ctime"].startswith(("Thu Jan 01", "Wed Dec 31"))
    assert stat_value(STAT)["ephemeral_owner"] == "0xffffffffffffffff"


def test_names_and_numbers() -> None:
    assert format_names(["a", "b"]) == "[a, b]"
    assert format_names([]) == "[]"
    assert (counted(1, "znode"), counted(0, "znode")) == ("1 znode", "0 znodes")


@pytest.mark.parametrize(
    "text",
    [
        "world:anyone:cdrwa",
        "digest:ann:c2VjcmV0=:r,ip:10.0.0.0/8:cd",
        "auth::cdrwa",
        "x509:CN=worker,O=example:cdrwa,world:anyone:r",
    ],
)
def test_an_acl_is_read_as_it_is_written(text: str) -> None:
    assert format_acl(read_acl(text)) == text


def test_an_acl_has_its_parts() -> None:
    assert read_acl("digest:ann:x=:ra") == (ACL(17, Id("digest", "ann:x=")),)


@pytest.mark.parametrize(
    "text",
    ["", "world", "world:anyone", "world:anyone:", "world:anyone:q", "world:anyone:r,x", ":x:r"],
)
def test_what_is_no_acl_is_said(text: str) -> None:
    with pytest.raises(UsageError, match="not an ACL"):
        read_acl(text)


def test_json_is_an_object_or_a_list() -> None:
    assert is_json(' {"a": 1}')
    assert is_json("[]")
    assert not any(is_json(text) for text in ("", "1", "null", "{", "[1] x", "[" * 100_000))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES, st.booleans())
def test_indented_json_is_the_same_json(value: object, ensure_ascii: bool) -> None:
    text = json.dumps(value, ensure_ascii=ensure_ascii)
    assert indent_json(text) == json.dumps(value, ensure_ascii=ensure_ascii, indent=2)


def test_indented_json_keeps_every_number_and_escape() -> None:
    assert indent_json('{"a":1.50,"b":1e400,"a":"\\u202e"}') == (
        '{\n  "a": 1.50,\n  "b": 1e400,\n  "a": "\\u202e"\n}'
    )
