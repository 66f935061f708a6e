"""Hashes of passwords: slow, salted, in no message."""

import base64
import hashlib
import random

import pytest

from zoolet.passwords.hashes import NOBODYS_HASH, hash_of, parse_hash


def test_a_hash_is_salted_and_only_its_password_matches() -> None:
    one, two = hash_of("pässword"), hash_of("pässword")
    assert one != two
    assert one.matches("pässword")
    assert not one.matches("Pässword")
    assert not one.matches("")
    assert not NOBODYS_HASH.matches("")
    assert (one.cost, one.block, one.parallel) == NOBODYS_HASH[:3]


def test_the_hash_is_scrypt_as_the_standard_library_computes_it() -> None:
    _, cost, block, parallel, salt, digest = str(hash_of("secret")).split(":")
    found = hashlib.scrypt(
        b"secret",
        salt=base64.b64decode(salt),
        n=int(cost),
        r=int(block),
        p=int(parallel),
        dklen=32,
        maxmem=1 << 26,
    )
    assert base64.b64encode(found).decode() == digest


def test_a_hash_is_in_no_representation() -> None:
    found = hash_of("secret")
    assert repr(found) == "PasswordHash()"
    assert str(found).count(":") == 5


def test_a_hash_is_read_as_it_was_written() -> None:
    found = hash_of("secret")
    assert parse_hash(str(found)) == found


@pytest.mark.parametrize("seed", range(10))
def test_a_random_text_is_a_hash_or_the_documented_error(seed: int) -> None:
    chance = random.Random(seed)
    parts = [*str(NOBODYS_HASH).split(":"), "", "-1", "x", "99999999999999999999", "md5", "?"]
    for _ in range(200):
        text = ":".join(chance.choices(parts, k=chance.choice([5, 6, 6, 6, 7])))
        try:
            found = parse_hash(text)
        except ValueError:
            continue
        assert found.cost * found.block <= 1 << 18
