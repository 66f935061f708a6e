"""Java properties files: each rule by example, and random files beside a model and beside Java."""

import random
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from tests.support.skips import needs
from zoolet.server.zoo_cfg.properties import (
    PropertiesError,
    decode_properties,
    format_property,
    parse_properties,
    trim,
)

FILES = 300
JAVA_PROGRAM = """
import java.io.*;
import java.nio.charset.StandardCharsets;
import java.util.*;

public class Load {
    static final List<String> stored = new ArrayList<>();

    static class Recorder extends Properties {
        @Override public synchronized Object put(Object key, Object value) {
            stored.add((String) key);
            stored.add((String) value);
            return super.put(key, value);
        }
    }

    public static void main(String[] arguments) throws IOException {
        DataInputStream in = new DataInputStream(System.in);
        DataOutputStream out = new DataOutputStream(new BufferedOutputStream(System.out));
        for (int files = in.readInt(); files > 0; files--) {
            byte[] content = new byte[in.readInt()];
            in.readFully(content);
            stored.clear();
            try {
                new Recorder().load(new ByteArrayInputStream(content));
            } catch (IllegalArgumentException malformed) {
                out.writeInt(-1);
                continue;
            }
            out.writeInt(stored.size());
            for (String text : stored) {
                byte[] units = text.trim().getBytes(StandardCharsets.UTF_16BE);
                out.writeInt(units.length);
                out.write(units);
            }
        }
        out.flush();
    }
}
"""


def pairs(text: str) -> list[tuple[str, str]]:
    return [(found.key, found.value) for found in parse_properties(text)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a=b", [("a", "b")]),
        ("a: b", [("a", "b")]),
        ("a b", [("a", "b")]),
        ("a\tb", [("a", "b")]),
        ("\fa\f=\fb\f", [("a", "b")]),
        ("  a  :=  b  ", [("a", "=  b")]),
        ("a", [("a", "")]),
        ("a=", [("a", "")]),
        ("#a=b\n!c=d\n  # e\n\n \t\f\n", []),
        ("a=b#c", [("a", "b#c")]),
        ("a=b\\\n   c", [("a", "bc")]),
        ("a=b\\\r\n\tc\rd=e", [("a", "bc"), ("d", "e")]),
        ("a=b\\\n#c", [("a", "b#c")]),
        ("a=b\\\\\nc=d", [("a", "b\\"), ("c", "d")]),
        ("a=b\\", [("a", "b")]),
        ("#a\\\nb=c", [("b", "c")]),
        ("a\\ b\\=\\:c=d", [("a b=:c", "d")]),
        ("a=C:\\\\data", [("a", "C:\\data")]),
        ("a=C:\\data", [("a", "C:data")]),
        ("a=\\u00e9\\u00C9", [("a", "éÉ")]),
        ("a=\\ud83d\\ude00", [("a", "😀")]),
        ("a=x\\ty\\nz", [("a", "x\ty\nz")]),
        ("a=b\na=c", [("a", "b"), ("a", "c")]),
        ("\ufeffa=b", [("a", "b")]),
    ],
)
def test_a_text_has_these_properties(text: str, found: list[tuple[str, str]]) -> None:
    assert pairs(text) == found


def test_a_property_has_the_number_of_its_first_line() -> None:
    assert [found.line for found in parse_properties("# c\r\na=\\\r\n b\r\rc=d\n")] == [2, 5]


@pytest.mark.parametrize("text", ["a=1\nb=\\u00g9", "a=1\n\\u12=x", "a=1\nb=\\u"])
def test_a_malformed_escape_names_its_line(text: str) -> None:
    with pytest.raises(PropertiesError) as refused:
        pairs(text)
    assert refused.value.line == 2


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"a=b", "a=b"),
        (b"# caf\xe9\na=b", "# caf\xe9\na=b"),
        ("a=é".encode(), "a=é"),
        (b"\xef\xbb\xbfa=b", "a=b"),
        (b"\xef\xbb\xbf# \xe9\na=b", "# é\na=b"),
    ],
)
def test_bytes_are_read_as_utf_8_if_they_are_that(content: bytes, text: str) -> None:
    assert decode_properties(content) == text


def test_random_properties_are_read_as_they_were_written() -> None:
    chance = random.Random(1616)
    for _ in range(FILES):
        wanted = [(some_text(chance, 1), some_text(chance, 0)) for _ in range(chance.randrange(6))]
        text = "".join(written(chance, key, value) for key, value in wanted)
        assert pairs(text) == [(trim(key), trim(value)) for key, value in wanted], text


def some_text(chance: random.Random, least: int) -> str:
    letters = "abz09.=:#! \\\t\n\f\ré\x85\xa0ü😀"
    text = "".join(chance.choices(letters, k=chance.randrange(least, 9)))
    # A key of blanks alone would be an empty key, of which zoo.cfg has none.
    return text + "k" if least and not trim(text) else text


def written(chance: random.Random, key: str, value: str) -> str:
    """Return a line, or several, with this meaning, in a random spelling."""
    separator = chance.choice(["=", ":", " ", "\t", " = ", "\f:", " \t"])
    noise = chance.choice(["", "", "# a=b\\\n", "\n \t\n", "!x\r\n"])
    end = chance.choice(["\n", "\r", "\r\n"])
    blanks = chance.choice(["", " ", "\t\f"])
    # In a value only its begin can look like a separator, or like blanks before it.
    pieces = escaped(chance, value[:1], "=: \t\f") + escaped(chance, value[1:], "")
    line = broken(chance, escaped(chance, key, "=: \t\f")) + separator + broken(chance, pieces)
    return noise + blanks + line + end


def escaped(chance: random.Random, text: str, special: str) -> list[str]:
    """Return each letter in one of its spellings; those in ``special`` need a backslash."""
    names = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\f": "\\f"}
    pieces = []
    for position, letter in enumerate(text):
        units = letter.encode("utf-16-be")
        codes = "".join(f"\\u{units[at]:02x}{units[at + 1]:02X}" for at in range(0, len(units), 2))
        short = names.get(letter, codes if letter.isalnum() else f"\\{letter}")
        is_special = letter in special or letter in "\\\n\r" or (position == 0 and letter in "#!")
        pieces.append(
            chance.choice([codes, short] if is_special else [letter, letter, codes, short])
        )
    return pieces


def broken(chance: random.Random, pieces: list[str]) -> str:
    """Return the pieces as one text, some of them on a line of their own."""
    text = ""
    for piece in pieces:
        if text and not piece.startswith((" ", "\t", "\f")) and chance.random() < 0.2:
            text += "\\" + chance.choice(["\n", "\r\n", "\r"]) + chance.choice(["", "  ", "\t\f"])
        text += piece
    return text


def test_a_property_that_is_written_is_read_again() -> None:
    chance = random.Random(1619)
    for _ in range(FILES):
        wanted = [("k", some_text(chance, 0)) for _ in range(3)]
        text = "".join(format_property(key, value) for key, value in wanted)
        assert text.isascii()
        assert pairs(text) == [(key, trim(value)) for key, value in wanted], text


def test_random_bytes_are_read_as_java_reads_them(tmp_path: Path) -> None:
    if shutil.which("javac") is None or shutil.which("java") is None:
        pytest.skip(needs("a JDK", "default-jdk-headless"))
    chance = random.Random(1617)
    pieces = ["\\", "\\", "\n", "\r", "\r\n", " ", "\t", "\f", "=", ":", "#", "!", "a", "u", "n"]
    pieces += ["\\u00e9", "\\ud83d\\ude00", "0", "\x01", "\x85", "\xa0", "\\\n", "\\\r\n  "]
    files = [
        "".join(chance.choices(pieces, k=chance.randrange(25))).encode("latin-1")
        for _ in range(10 * FILES)
    ]
    source = tmp_path / "Load.java"
    source.write_text(JAVA_PROGRAM)
    asked = struct.pack(">i", len(files))
    asked += b"".join(struct.pack(">i", len(content)) + content for content in files)
    answer = subprocess.run(
        ["java", str(source)], input=asked, stdout=subprocess.PIPE, check=True, timeout=100
    ).stdout
    for content, theirs in zip(files, java_answers(answer), strict=True):
        assert ours_of(content.decode("latin-1")) == theirs, content


def ours_of(text: str) -> list[tuple[str, str]] | None:
    try:
        return without_empty(pairs(text))
    except PropertiesError:
        return None


def java_answers(answer: bytes) -> list[list[tuple[str, str]] | None]:
    """Return the properties of each file, None for one that Java refuses."""
    answers: list[list[tuple[str, str]] | None] = []
    position = 0

    def integer() -> int:
        nonlocal position
        position += 4
        found: int = struct.unpack_from(">i", answer, position - 4)[0]
        return found

    while position < len(answer):
        count = integer()
        texts = []
        for _ in range(count):
            size = integer()
            texts.append(answer[position : position + size].decode("utf-16-be", "replace"))
            position += size
        answers.append(
            None if count < 0 else without_empty(list(zip(*[iter(texts)] * 2, strict=True)))
        )
    return answers


def without_empty(found: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Leave out empty keys without a value: Java finds one in a last line that is only ``\\``."""
    return [pair for pair in found if pair != ("", "")]
