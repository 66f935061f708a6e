"""Stores in PKCS12 with the certificates of a trustme authority."""

from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    NoEncryption,
    load_pem_private_key,
    pkcs12,
)


def certificates_in(*blobs: trustme.Blob) -> list[x509.Certificate]:
    """Return the certificates in PEM blobs."""
    return [found for blob in blobs for found in x509.load_pem_x509_certificates(blob.bytes())]


def key_store(
    issued: trustme.LeafCert, password: str, others: list[x509.Certificate] | None = None
) -> bytes:
    """Return a store with a key and its certificate, and other certificates (else its chain)."""
    own, *chain = certificates_in(*issued.cert_chain_pems)
    key: Any = load_pem_private_key(issued.private_key_pem.bytes(), None)
    wanted = chain if others is None else others
    return pkcs12.serialize_key_and_certificates(b"key", key, own, wanted, _encryption(password))


def trust_store(password: str, *authorities: trustme.CA) -> bytes:
    """Return a store with the certificates of authorities, as Java's keytool makes one."""
    return pkcs12.serialize_java_truststore(
        [
            pkcs12.PKCS12Certificate(certificate, f"ca{number}".encode())
            for number, authority in enumerate(authorities)
            for certificate in certificates_in(authority.cert_pem)
        ],
        _encryption(password),
    )


def _encryption(password: str) -> Any:
    return BestAvailableEncryption(password.encode()) if password else NoEncryption()
