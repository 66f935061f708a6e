"""Subject alternative names as Java's X509Certificate returns them.

tests/conformance/test_x509_names.py compares random ones with Java.
"""

import ipaddress
import random

import pytest
from cryptography import x509

from tests.support.alternative_names import certificate_with, random_names
from zoolet.server.sockets.alternative_names import alternative_names_in
from zoolet.server.sockets.der import DerError

URI = x509.UniformResourceIdentifier


@pytest.mark.parametrize("is_critical", [False, True])
def test_each_type_has_a_text(*, is_critical: bool) -> None:
    names: list[x509.GeneralName] = [
        x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x0c\x01a"),
        x509.RFC822Name("w@example.org"),
        x509.DNSName("*.example.org"),
        x509.DirectoryName(
            x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "worker, one")])
        ),
        URI("urn:li:servicePrincipal(a;b)"),
        x509.IPAddress(ipaddress.ip_address("10.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("2001:db8::1")),
        x509.IPAddress(ipaddress.ip_address("::ffff:10.0.0.1")),
        x509.RegisteredID(x509.ObjectIdentifier("2.999.3")),
    ]
    assert alternative_names_in(certificate_with(names, is_critical=is_critical)) == [
        (1, "w@example.org"),
        (2, "*.example.org"),
        (4, "CN=worker\\, one"),
        (6, "urn:li:servicePrincipal(a;b)"),
        (7, "10.0.0.1"),
        (7, "2001:db8:0:0:0:0:0:1"),
        (7, "10.0.0.1"),
        (8, "2.999.3"),
    ]


def test_a_certificate_without_the_extension_has_no_names() -> None:
    assert alternative_names_in(certificate_with([])) == []


@pytest.mark.parametrize("seed", range(3))
def test_damaged_certificates_give_one_error(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(60):
        damaged = bytearray(certificate_with(random_names(chance)))
        for _ in range(chance.randrange(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            found = alternative_names_in(bytes(damaged[: chance.randrange(1, len(damaged) + 1)]))
        except DerError:
            continue
        assert all(isinstance(text, str) for _, text in found)
