"""Data as text and hex: decoding is bounded, and unedited text stores the identical bytes."""

import base64
import gzip
import random
from collections.abc import Callable
from typing import Any

import cramjam
import pytest

from zoolet.web.values.encodings import MOST_BYTES, decode
from zoolet.web.values.values import EditError, edited, edited_hex, value_of
from zoolet.web.values.views import hex_rows, json_markup

PACKERS: list[Callable[[bytes], Any]] = [
    gzip.compress,
    cramjam.zstd.compress,
    cramjam.snappy.compress,
    base64.b64encode,
]


def random_data(chance: random.Random) -> bytes | None:
    """Return null, text or bytes, in up to two encodings."""
    if chance.random() < 0.05:
        return None
    size = chance.randrange(200)
    texts = ["a", "é", "\n", "\r\n", "\r", "<", "{", "}", " ", "\0", "\u202e", "A" * 20]
    data = (
        "".join(chance.choices(texts, k=size)).encode()
        if chance.random() < 0.7
        else chance.randbytes(size)
    )
    for _ in range(chance.randrange(3)):
        data = bytes(chance.choice(PACKERS)(data))
        if chance.random() < 0.2:
            data = data[: chance.randrange(len(data) + 1)]
    return data


@pytest.mark.parametrize("seed", range(30))
def test_random_data_survive_an_edit_without_changes(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(100):
        data = random_data(chance)
        value = value_of(data)
        assert edited_hex(value, value.content.hex(" ")) == data
        if value.text is not None:
            sent = value.text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")
            assert edited(value, sent) == data
            if not value.locked:
                changed = value_of(edited(value, sent + "!"))
                assert changed.text is None or changed.text.endswith("!") or changed.layers
        rows = hex_rows(value.content, 0)
        assert bytes.fromhex("".join(row.digits for row in rows)) == value.content[:4096]


@pytest.mark.parametrize(
    "pack",
    [cramjam.gzip.compress, cramjam.zstd.compress, cramjam.snappy.compress],
)
def test_data_that_would_become_too_large_stay_as_they_are(
    pack: Callable[[bytes], cramjam.Buffer],
) -> None:
    bomb = bytes(pack(bytes(MOST_BYTES + 1)))
    assert decode(bomb).content == bomb
    assert len(decode(bytes(pack(bytes(MOST_BYTES)))).content) == MOST_BYTES


@pytest.mark.parametrize("word", [b"deadbeefdeadbeef", b"helloworldhello1", b"0123456789012345"])
def test_words_are_not_taken_for_base64(word: bytes) -> None:
    assert decode(word).layers == ()


def test_text_with_several_kinds_of_line_ends_is_edited_as_hex() -> None:
    value = value_of(b"a\r\nb\nc")
    assert value.locked
    with pytest.raises(EditError, match="line ends"):
        edited(value, "a\r\nb\r\nd")
    with pytest.raises(EditError, match="hex"):
        edited(value_of(b"\0"), "x")


def test_json_keeps_numbers_and_escapes_texts() -> None:
    text = '{"a": 1.50, "b": [], "c": {"d": ["<x>", 12345678901234567890]}, "a": null}'
    assert value_of(text.encode()).is_json
    markup = json_markup(text)
    assert markup is not None
    assert "1.50" in markup
    assert "12345678901234567890" in markup
    assert "&lt;x&gt;" in markup
    assert markup.count("&#34;a&#34;") == 2
    assert markup.count("<details") == markup.count("</details>") == 3
    assert markup.count("<div>") == markup.count("</div>")
    assert json_markup("[" * 65 + "]" * 65) is None
    assert not value_of(b"[" * 100_000).is_json
