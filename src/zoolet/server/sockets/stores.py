"""Reads key stores and trust stores into a TLS context: PEM files, and PKCS12 files.

Python's ``ssl`` reads private keys only from PEM files. So the key of a PKCS12 file is encrypted
again, with a random password that is only in memory. It is never in a file in clear text. The
server imports this module only if it uses TLS, and the package cryptography only for a PKCS12 file.
"""

import contextlib
import os
import secrets
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from zoolet.passwords.secret_files import SecretFileError
from zoolet.server.common.errors import ServerError
from zoolet.server.zoo_cfg.config import StoreConfig, StoreFormat
from zoolet.server.zoo_cfg.stores import conversion, password_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12KeyAndCertificates
    from cryptography.x509 import Certificate

_OPEN_FILES: Final = Path("/proc/self/fd")
_JAVA_FORMATS: Final = {b"\xfe\xed\xfe\xed": "JKS", b"\xce\xce\xce\xce": "JCEKS"}
"""The first bytes of Java's own formats, with their types."""

_INSTALL: Final = (
    "PKCS12 files need the Python package cryptography, which is not installed. Run: pip install"
    " 'zoolet[pkcs12]'. Or convert the file to PEM: openssl pkcs12 -in {path} -out store.pem -noenc"
)


def load_key(context: ssl.SSLContext, store: StoreConfig) -> None:
    """Use the private key of a store and its certificates; raises ServerError."""
    if store.format is StoreFormat.PKCS12:
        _load_key_of_pkcs12(context, store)
        return
    password = _password_of(store)
    try:
        context.load_cert_chain(store.path, password=lambda: password)
    except (OSError, ssl.SSLError, ValueError) as error:  # ValueError: a password above 1 KiB
        raise ServerError(
            f"{store.prefix}.location: {store.path} cannot be used: {error}. It must be a PEM file"
            " with the server's private key and its certificates. If the key has a password,"
            f" {store.prefix}.password must be this password."
        ) from error


def load_trusted(context: ssl.SSLContext, store: StoreConfig, whose: str) -> None:
    """Trust the CAs in a store; raises ServerError.

    For messages, ``whose`` says whose certificates the CAs sign.
    """
    try:
        if store.format is StoreFormat.PKCS12:
            context.load_verify_locations(cadata=_trusted_in_pkcs12(store))
        else:
            context.load_verify_locations(cafile=store.path)
    except (OSError, ssl.SSLError) as error:
        raise ServerError(
            f"{store.prefix}.location: {store.path} cannot be used: {error}. It must be a"
            f" {store.format.value} file with the certificates of the CAs that sign {whose}"
            " certificates."
        ) from error


def _load_key_of_pkcs12(context: ssl.SSLContext, store: StoreConfig) -> None:
    content = _pkcs12(store)
    if content.key is None or content.cert is None:
        raise ServerError(
            f"{store.prefix}.location: {store.path} has no private key with a certificate. Name"
            " the store of the server's own key."
        )
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 -- see above

    password = secrets.token_hex(32)
    key = content.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password.encode()),
    )
    others = [each.certificate for each in content.additional_certs]
    chain = b"".join(
        each.public_bytes(serialization.Encoding.PEM)
        for each in _chain(content.cert.certificate, others)
    )
    try:
        with _readable_file(key + chain) as name:
            context.load_cert_chain(name, password=password)
    except (OSError, ssl.SSLError) as error:
        raise ServerError(
            f"{store.prefix}.location: the key in {store.path} cannot be used: {error}. The store"
            " must have the server's private key and its certificates."
        ) from error


def _chain(own: "Certificate", others: "list[Certificate]") -> "list[Certificate]":
    """Return a certificate, followed by the certificate of its issuer, and so on."""
    chain = [own]
    left = list(others)
    while chain[-1].issuer != chain[-1].subject:
        issuer = next((each for each in left if each.subject == chain[-1].issuer), None)
        if issuer is None:
            break
        left.remove(issuer)
        chain.append(issuer)
    return chain


def _trusted_in_pkcs12(store: StoreConfig) -> bytes:
    """Return the certificates of a trust store, one after the other in DER; raises ServerError.

    Java trusts only those certificates that its keytool has imported alone, not those of a private
    key. A store without a key has no others.
    """
    content = _pkcs12(store)
    if content.key is not None:
        raise ServerError(
            f"{store.prefix}.location: {store.path} has a private key. A trust store has only the"
            " certificates of CAs: export them to a file of their own."
        )
    if not content.additional_certs:
        raise ServerError(
            f"{store.prefix}.location: {store.path} has no certificate. Import the certificates of"
            " the CAs into it, or name another store."
        )
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415 -- see above

    return b"".join(
        each.certificate.public_bytes(Encoding.DER) for each in content.additional_certs
    )


def _pkcs12(store: StoreConfig) -> "PKCS12KeyAndCertificates":
    """Return the content of a PKCS12 file; raises ServerError."""
    try:
        data = store.path.read_bytes()
    except OSError as error:
        raise ServerError(
            f"{store.prefix}.location: {store.path} cannot be used: {error}. It must be a PKCS12"
            " file."
        ) from error
    kind = _JAVA_FORMATS.get(data[:4])
    if kind is not None:
        raise ServerError(
            f"{store.prefix}.location: {store.path} has the format {kind}, which zoolet does not"
            f" read. Convert it to PKCS12, and name the new file: {conversion(store.path, kind)}"
        )
    try:
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 -- see above
        from cryptography.hazmat.primitives.serialization import pkcs12  # noqa: PLC0415
    except ImportError as error:
        raise ServerError(f"{store.prefix}.location: {_INSTALL.format(path=store.path)}") from error
    password = _password_of(store)
    try:
        return pkcs12.load_pkcs12(data, password.encode() or None)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ServerError(
            f"{store.prefix}.location: {store.path} cannot be used: {error}. It must be a PKCS12"
            f" file, and {store.prefix}.password its password."
        ) from error


def _password_of(store: StoreConfig) -> str:
    """Return the password of a store, as its file has it now; raises ServerError."""
    try:
        return password_of(store)
    except SecretFileError as error:
        raise ServerError(
            f"{store.prefix}.passwordPath: {error}. Correct the file or its path."
        ) from None


@contextlib.contextmanager
def _readable_file(content: bytes) -> Iterator[str]:
    """Write a file that OpenSSL can read until the context ends, and yield its name.

    On Linux it is in memory; elsewhere, only the user of this process can read it.
    """
    if hasattr(os, "memfd_create") and _OPEN_FILES.is_dir():
        descriptor = os.memfd_create("zoolet-key", os.MFD_CLOEXEC)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            yield str(_OPEN_FILES / str(descriptor))
        return
    with tempfile.NamedTemporaryFile(prefix="zoolet-key-") as file:
        file.write(content)
        file.flush()
        yield file.name
