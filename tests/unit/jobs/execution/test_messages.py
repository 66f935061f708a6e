"""Messages of an executor's process: put together from any pieces, and refused if they are none."""

import os
import random
import threading
from typing import Any

import pytest

from zoolet.jobs.execution.messages import Message, MessageError, MessageReader, MessageWriter


class Piece(bytes):
    """Bytes that count what is copied of them, and refuse to be put behind others."""

    copied_bytes = 0

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        Piece.copied_bytes += len(found)
        return Piece(found)

    def __add__(self, _: object) -> bytes:
        raise AssertionError("what came before is copied with each piece")

    __radd__ = __add__


def written(*parts: tuple[dict[str, Any], bytes]) -> bytes:
    """Return what a writer writes."""
    reading, writing = os.pipe()
    found: list[bytes] = []

    def read() -> None:
        while data := os.read(reading, 65536):
            found.append(data)

    thread = threading.Thread(target=read)
    thread.start()
    writer = MessageWriter(writing)
    for fields, attached in parts:
        writer.keep(fields, attached)
    writer.flush()
    os.close(writing)
    thread.join()
    os.close(reading)
    return b"".join(found)


@pytest.mark.parametrize("seed", range(20))
def test_any_pieces_give_the_messages(seed: int) -> None:
    chance = random.Random(seed)
    parts = [
        (
            {"n": n, "text": "\n" * chance.randrange(3)},
            chance.randbytes(chance.choice([0, 9, 9999])),
        )
        for n in range(chance.randrange(1, 30))
    ]
    data = written(*parts)
    reader = MessageReader()
    found: list[Message] = []
    position = 0
    while position < len(data):
        end = position + chance.choice([1, 2, 100, 5000, 100_000])
        found += reader.feed(data[position:end])
        position = end
    assert found == [Message(fields, attached) for fields, attached in parts]


@pytest.mark.parametrize("piece_bytes", [1000, 65536, 1 << 20])
def test_what_is_attached_is_copied_into_its_place_and_nowhere_else(piece_bytes: int) -> None:
    attached = bytes(8 << 20)
    data = memoryview(written(({"ended": "a"}, attached)))
    reader = MessageReader()
    Piece.copied_bytes = 0
    found: list[Message] = []
    for position in range(0, len(data), piece_bytes):
        found += reader.feed(Piece(data[position : position + piece_bytes]))
    assert found == [Message({"ended": "a"}, attached)]
    assert Piece.copied_bytes < 100, "only the line is cut out of a piece"


def test_a_large_part_is_written_without_being_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def write(_: int, data: memoryview) -> int:
        sizes.append(len(data))
        return len(data)

    monkeypatch.setattr("zoolet.jobs.execution.messages.os.write", write)
    writer = MessageWriter(0)
    for _ in range(3):
        writer.keep({"x": 1})
    writer.keep({"x": 2}, bytes(1_000_000))
    writer.write({"x": 3})
    assert len(sizes) == 3
    assert sizes[1] == 1_000_000


@pytest.mark.parametrize(
    "data",
    [
        b"\n", b"Hello\n", b"[1]\n", b"\xff\n", b'{"bytes": -1}\n', b'{"bytes": "1"}\n',
        b'{"bytes": 99999999999}\n', b"[" * 10_000 + b"\n", b"x" * (2 << 20),
    ],
)  # fmt: skip
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(MessageError):
        MessageReader().feed(data)
