"""Certificates with subject alternative names of every type, also random ones."""

import datetime as dt
import ipaddress
import random

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

_LETTERS = "abzAZ09-._~()=,;:@ "


def certificate_with(names: list[x509.GeneralName], *, is_critical: bool = False) -> bytes:
    """Return a certificate in DER, which signs itself; without names, it lacks the extension."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "worker")])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=is_critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def random_names(chance: random.Random) -> list[x509.GeneralName]:
    """Return up to six names that Java accepts, of every type."""
    return [_random_name(chance) for _ in range(chance.randrange(7))]


def _random_name(chance: random.Random) -> x509.GeneralName:
    text = "".join(chance.choices(_LETTERS, k=chance.randrange(1, 12)))
    word = "".join(chance.choices("abcz09", k=chance.randrange(1, 8)))
    address = chance.choice(
        [
            chance.randbytes(16),
            bytes(12) + chance.randbytes(4),
            bytes(10) + b"\xff\xff" + chance.randbytes(4),
            b"\x20\x01" + bytes(13) + b"\x01",
        ]
    )
    oid = f"2.{chance.randrange(999)}.{chance.randrange(1 << 20)}"
    directory = [
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, text),
        x509.NameAttribute(NameOID.COMMON_NAME, word),
    ]
    kinds: list[x509.GeneralName] = [
        x509.DNSName(f"{word}.example.org"),
        x509.RFC822Name(f"{word}@example.org"),
        x509.UniformResourceIdentifier(f"urn:li:servicePrincipal({word};{word})"),
        x509.UniformResourceIdentifier(f"spiffe://{word}.example.org/{word}"),
        x509.IPAddress(ipaddress.IPv4Address(chance.randbytes(4))),
        x509.IPAddress(ipaddress.IPv6Address(address)),
        x509.RegisteredID(x509.ObjectIdentifier(oid)),
        x509.DirectoryName(x509.Name(directory)),
        x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x01a"),
    ]
    return chance.choice(kinds)
