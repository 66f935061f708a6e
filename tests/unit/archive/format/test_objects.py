"""The envelope: any change of its bytes is found, also in encrypted objects."""

import hashlib
import io
import random
from collections.abc import Iterator
from contextlib import suppress

import pytest

from zoolet.archive.errors import ArchiveError, DamagedObjectError
from zoolet.archive.format.encryption import Key
from zoolet.archive.format.objects import CHUNK_BYTES, Checksum, decode_object, encode_object

NAME = "snapshots/0001/0000000000000001-1700000000000"
KEY = Key("0123456789abcdef", bytes(range(32)))


def encoded(content: bytes, key: Key | None = None, name: str = NAME) -> bytes:
    return b"".join(encode_object(name, [content], key))


def decoded(data: bytes, key: Key | None = None, name: str = NAME) -> bytes:
    checksum = Checksum(name)
    checksum.add(data)
    checksum.check()
    return b"".join(decode_object(name, io.BytesIO(data).read, key))


keys = pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])


@keys
@pytest.mark.parametrize(
    "size_bytes", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES]
)
def test_the_content_comes_back(size_bytes: int, key: Key | None) -> None:
    content = random.Random(size_bytes).randbytes(size_bytes)
    assert decoded(encoded(content, key), key) == content


@keys
def test_each_changed_byte_is_found(key: Key | None) -> None:
    data = encoded(b"a small object", key)
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1
        with pytest.raises(DamagedObjectError):
            decoded(bytes(changed), key)


@keys
def test_each_missing_or_additional_byte_is_found(key: Key | None) -> None:
    data = encoded(b"a small object", key)
    for position in range(len(data)):
        for changed in (
            data[:position],
            data[position + 1 :],
            data[:position] + b"\0" + data[position:],
        ):
            with pytest.raises(DamagedObjectError):
                decoded(changed, key)
    with pytest.raises(DamagedObjectError):
        decoded(data + b"\0", key)


def test_an_object_under_another_name_is_found() -> None:
    other = NAME.replace("0001", "0002")
    with pytest.raises(DamagedObjectError, match="under another name"):
        decoded(encoded(b"content"), name=other)


def test_a_checksum_in_many_blocks_is_the_same() -> None:
    data = encoded(b"a small object")
    checksum = Checksum(NAME)
    for byte in data:
        checksum.add(bytes([byte]))
    checksum.check()


def test_an_encrypted_object_needs_its_key() -> None:
    data = encoded(b"secret content", KEY)
    assert b"secret" not in data
    with pytest.raises(ArchiveError, match="--key-file"):
        decoded(data)
    with pytest.raises(ArchiveError, match="--key-file"):
        decoded(data, Key("another", bytes(32)))
    with pytest.raises(DamagedObjectError, match="another key"):
        decoded(data, Key(KEY.id, bytes(32)))


@keys
def test_with_a_correct_checksum_too_no_change_gives_other_content(key: Key | None) -> None:
    """Somebody may compute the checksum again; only the encryption finds every such change."""
    generator = random.Random(1)
    content = generator.randbytes(100)
    data = encoded(content, key)
    for _ in range(500):
        changed = bytearray(data[:-32])
        for _ in range(generator.randint(1, 3)):
            changed[generator.randrange(len(changed))] = generator.randrange(256)
        with suppress(ArchiveError):
            got = b"".join(decode_object(NAME, io.BytesIO(_sealed(changed)).read, key))
            assert key is None or got == content


def _sealed(data: bytes | bytearray) -> bytes:
    return bytes(data) + hashlib.sha256(data).digest()


def test_encoding_takes_little_memory() -> None:
    """The bytes come while the content is read: at most two chunks are waiting."""
    taken = 0

    def pieces() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(8):
            taken += 1
            yield bytes(CHUNK_BYTES)

    blocks = encode_object(NAME, pieces())
    for number in range(4):
        next(blocks)
        assert taken <= number + 1
