"""Subjects as Java's X500Principal.getName() writes them: Java 17 gave the expectations."""

import random
import ssl

import pytest
import trustme

from tests.support.der import encode, encode_name, random_name
from zoolet.server.sockets.der import DerError
from zoolet.server.sockets.distinguished_names import name_as_text, subject_in

CN, ORGANISATION, EMAIL = "2.5.4.3", "2.5.4.10", "1.2.840.113549.1.9.1"
UTF8, IA5 = 12, 22


@pytest.mark.parametrize(
    ("oid", "text"),
    [
        ("2.5.4.3", "CN=x y"),
        ("2.5.4.6", "C=x y"),
        ("2.5.4.7", "L=x y"),
        ("2.5.4.8", "ST=x y"),
        ("2.5.4.9", "STREET=x y"),
        ("2.5.4.10", "O=x y"),
        ("2.5.4.11", "OU=x y"),
        ("0.9.2342.19200300.100.1.1", "UID=x y"),
        ("0.9.2342.19200300.100.1.25", "DC=x y"),
        ("1.2.840.113549.1.9.1", "1.2.840.113549.1.9.1=#0c03782079"),
        ("2.5.4.5", "2.5.4.5=#0c03782079"),
        ("2.5.4.12", "2.5.4.12=#0c03782079"),
        ("2.5.4.42", "2.5.4.42=#0c03782079"),
        ("2.999.3", "2.999.3=#0c03782079"),
    ],
)
def test_nine_attributes_have_a_keyword(oid: str, text: str) -> None:
    assert name_as_text(encode_name([[(oid, UTF8, b"x y")]])) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("worker, one", "worker\\, one"),
        ('a+b"c\\d<e>f;g', 'a\\+b\\"c\\\\d\\<e\\>f\\;g'),
        ("a=b#c", "a\\=b\\#c"),
        ("#a", "\\#a"),
        ("  a  ", "\\ \\ a\\ \\ "),
        (" ", "\\ "),
        ("\ra\r", "\\\ra\\\r"),
        ("", ""),
        ("a\0b", "a\\00b"),
        ("a\nb\t\x7f", "a\nb\t\x7f"),
        ("zoë €😀", "zoë €😀"),
    ],
)
def test_values_are_escaped(value: str, text: str) -> None:
    assert name_as_text(encode_name([[(CN, UTF8, value.encode())]])) == f"CN={text}"


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        (12, "CN=A\ufffdB"),
        (19, "CN=A\ufffdB"),
        (20, "CN=A\ufffdB"),
        (22, "CN=A\ufffdB"),
        (27, "CN=A\ufffdB"),
        (30, "CN=A\ufffdB"),
        (28, "CN=#1c0341e942"),
        (4, "CN=#040341e942"),
        (2, "CN=#020341e942"),
    ],
)
def test_texts_of_any_kind_are_read_as_utf8_and_all_else_is_shown_as_der(
    tag: int, text: str
) -> None:
    assert name_as_text(encode_name([[(CN, tag, b"A\xe9B")]])) == text


def test_the_last_part_comes_first_and_the_attributes_of_one_part_stay_in_order() -> None:
    name = [
        [(ORGANISATION, UTF8, b"zoolet")],
        [("2.5.4.11", UTF8, b"b"), (CN, UTF8, b"a"), (EMAIL, IA5, b"w@x")],
    ]
    text = "OU=b+CN=a+1.2.840.113549.1.9.1=#1603774078,O=zoolet"
    assert name_as_text(encode_name(name)) == text
    assert name_as_text(encode_name([])) == ""


def test_a_certificate_s_subject() -> None:
    issued = trustme.CA().issue_cert(common_name="w=1", organization_name="zoolet")
    der = ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())
    assert subject_in(der).split(",")[0] == "CN=w\\=1"
    fields = [encode(2, b"1"), encode(0x30, b""), encode_name([]), encode(0x30, b"")]
    signed = encode(0x30, b"".join([*fields, encode_name([[(CN, UTF8, b"old")]])]))
    assert subject_in(encode(0x30, signed)) == "CN=old"  # of version 1, which it does not say


def test_bytes_that_are_no_certificate_give_one_error() -> None:
    chance = random.Random(16)
    issued = trustme.CA().issue_cert("localhost")
    whole = ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())
    for _ in range(3000):
        cut = bytearray(whole if chance.random() < 0.5 else random_name(chance))
        for _ in range(chance.randrange(1, 6)):
            if cut:
                cut[chance.randrange(len(cut))] = chance.randrange(256)
        for read in (subject_in, name_as_text):
            try:
                text = read(bytes(cut[: chance.randrange(len(cut) + 1)]))
            except DerError:
                continue
            text.encode()
