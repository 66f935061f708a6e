"""The envelope of every object: a header, compressed chunks, and a checksum of all bytes.

Format: docs/formats/archive.md. Invariant: no content is returned before the checksum of the whole
object was compared, so damaged content is never used. Both directions need memory only for a few
chunks. No I/O.
"""

import hashlib
import json
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

import zstandard

from zoolet.archive.errors import ArchiveError, DamagedObjectError
from zoolet.archive.format.encryption import SALT_BYTES, ChunkCipher, Key, WrongKeyError, new_salt

MAGIC: Final = b"ZLAR"
VERSION: Final = 1
CHUNK_BYTES: Final = 1 << 20
"""The size of the content of a chunk before compression; the last chunk may be shorter."""

CHECKSUM_BYTES: Final = hashlib.sha256().digest_size

_HEAD: Final = struct.Struct(">4sBI")
_LENGTH: Final = struct.Struct(">I")
_MOST_HEADER_BYTES: Final = 1 << 16
_MOST_STORED_BYTES: Final = CHUNK_BYTES + (1 << 16)
_COMPRESSION: Final = "zstd"


class _Header(NamedTuple):
    """The header of an object; ``encoded`` has its bytes, ``salt`` is None without encryption."""

    encoded: bytes
    name: str
    key_id: str | None
    salt: bytes | None


def encode_object(name: str, pieces: Iterable[bytes], key: Key | None = None) -> Iterator[bytes]:
    """Yield the bytes of the object ``name`` with this content; ``key`` encrypts it."""
    salt = None if key is None else new_salt()
    encryption = None if key is None or salt is None else {"key": key.id, "salt": salt.hex()}
    fields = {"name": name, "compression": _COMPRESSION, "encryption": encryption}
    header = json.dumps(fields, sort_keys=True).encode()
    cipher = None if key is None or salt is None else ChunkCipher(key, salt, header)
    head = _HEAD.pack(MAGIC, VERSION, len(header)) + header
    digest = hashlib.sha256(head)
    yield head
    compressor = zstandard.ZstdCompressor()
    for number, (chunk, is_last) in enumerate(_chunks(pieces)):
        stored = compressor.compress(chunk)
        if cipher is not None:
            stored = cipher.encrypt(number, stored, is_last=is_last)
        block = _LENGTH.pack(len(stored)) + stored
        digest.update(block)
        yield block
    end = _LENGTH.pack(0)
    digest.update(end)
    yield end + digest.digest()


def _chunks(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield chunks, and whether each is the last one; at least one chunk."""
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        while len(waiting) > CHUNK_BYTES:  # not >=, because the last chunk must be known as last
            yield bytes(waiting[:CHUNK_BYTES]), False
            del waiting[:CHUNK_BYTES]
    yield bytes(waiting), True


class Checksum:
    """Compares the checksum at the end of an object with its bytes, which come in blocks."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._digest = hashlib.sha256()
        self._end = b""

    def add(self, block: bytes) -> None:
        """Add the next bytes of the object."""
        data = self._end + block
        self._digest.update(memoryview(data)[: max(0, len(data) - CHECKSUM_BYTES)])
        self._end = data[-CHECKSUM_BYTES:]

    def check(self) -> None:
        """Raise DamagedObjectError if the object is not complete and unchanged."""
        if self._digest.digest() != self._end:
            raise DamagedObjectError(self._name, "its checksum is wrong, or it is cut short")


def decode_object(name: str, read: Callable[[int], bytes], key: Key | None) -> Iterator[bytes]:
    """Yield the content of the object ``name``; ``read`` returns its next bytes, like a file.

    The caller must have compared the checksum (``Checksum``). Raises DamagedObjectError, and
    ArchiveError if the key is missing.
    """
    header = _read_header(name, read)
    cipher = _cipher_of(header, key)
    decompressor = zstandard.ZstdDecompressor()
    number, length = 0, _read_length(name, read)
    while length:
        stored = _exactly(name, read, length)
        length = _read_length(name, read)
        try:
            if cipher is not None:
                stored = cipher.decrypt(number, stored, is_last=not length)
            if not 0 <= zstandard.frame_content_size(stored) <= CHUNK_BYTES:
                raise DamagedObjectError(name, "a chunk has a wrong size")
            yield decompressor.decompress(stored)
        except zstandard.ZstdError as error:
            raise DamagedObjectError(name, f"a chunk cannot be decompressed: {error}") from error
        except WrongKeyError as error:
            reason = "it was changed, or it was encrypted with another key of the same name"
            raise DamagedObjectError(name, reason) from error
        number += 1
    if not number:
        raise DamagedObjectError(name, "it has no content")
    _exactly(name, read, CHECKSUM_BYTES)
    if read(1):
        raise DamagedObjectError(name, "bytes follow the checksum")


def _read_header(name: str, read: Callable[[int], bytes]) -> _Header:
    magic, version, header_bytes = _HEAD.unpack(_exactly(name, read, _HEAD.size))
    if magic != MAGIC or header_bytes > _MOST_HEADER_BYTES:
        raise DamagedObjectError(name, "it is not an object of an archive")
    if version != VERSION:
        raise ArchiveError(
            f"the object {name} has version {version} of the format, and this release reads only"
            f" version {VERSION}. Use the release of zoolet that wrote the archive."
        )
    encoded = _exactly(name, read, header_bytes)
    try:
        fields: dict[str, Any] = json.loads(encoded)
        encryption = fields["encryption"]
        key_id = None if encryption is None else str(encryption["key"])
        salt = None if encryption is None else bytes.fromhex(encryption["salt"])
        header = _Header(encoded, str(fields["name"]), key_id, salt)
        is_known = (
            fields["compression"] == _COMPRESSION and len(salt or bytes(SALT_BYTES)) == SALT_BYTES
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedObjectError(name, "its header cannot be read") from error
    if not is_known:
        raise DamagedObjectError(name, "its header cannot be read")
    if header.name != name:
        raise DamagedObjectError(name, f"it is the object {header.name!r} under another name")
    return header


def _cipher_of(header: _Header, key: Key | None) -> ChunkCipher | None:
    if header.salt is None:
        return None
    if key is None or key.id != header.key_id:
        raise ArchiveError(
            f"the object {header.name} is encrypted with the key {header.key_id}. Give the file of"
            " this key: --key-file"
        )
    return ChunkCipher(key, header.salt, header.encoded)


def _read_length(name: str, read: Callable[[int], bytes]) -> int:
    (length,) = _LENGTH.unpack(_exactly(name, read, _LENGTH.size))
    if length > _MOST_STORED_BYTES:
        raise DamagedObjectError(name, f"a chunk of {length} bytes is too large")
    return int(length)


def _exactly(name: str, read: Callable[[int], bytes], size_bytes: int) -> bytes:
    data = read(size_bytes)
    if len(data) != size_bytes:
        raise DamagedObjectError(name, "it is cut short")
    return data
