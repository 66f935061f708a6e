"""TLS of the ports on which the server listens: the contexts, and the files that they are from.

The server imports this module only if it serves TLS. Source: Apache ZooKeeper's ``X509Util``.
"""

import re
import ssl
from pathlib import Path
from typing import Final

from zoolet.server.common.errors import ServerError
from zoolet.server.common.reloaded import Reloaded
from zoolet.server.sockets.stores import load_key, load_trusted
from zoolet.server.zoo_cfg.config import ClientAuth, OperatorTls, TlsConfig

_VERSIONS: Final = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
_TLS_13_SUITES: Final = frozenset(
    {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}
)
"""The cipher suites of TLS 1.3 that OpenSSL enables by default."""

_NO_SUITE: Final = "TLS_EMPTY_RENEGOTIATION_INFO_SCSV"
"""A member of Java's lists that is no suite (RFC 5746): it only protects renegotiations, which
OpenSSL always does."""

_VERIFY_MODES: Final = {
    ClientAuth.NEED: ssl.CERT_REQUIRED,
    ClientAuth.WANT: ssl.CERT_OPTIONAL,
    ClientAuth.NONE: ssl.CERT_NONE,
}


def client_certificates(config: TlsConfig) -> Reloaded[ssl.SSLContext]:
    """Return the TLS context of the secure port, which is made again when its files change.

    Open connections keep the context that they began with. Raises ServerError if a file cannot be
    used.
    """
    files = (*files_of(config), config.crl)
    return Reloaded("the certificates of the secure port", files, lambda: tls_context(config))


def files_of(config: TlsConfig | OperatorTls) -> list[Path]:
    """Return the files of the stores."""
    stores = (config.key_store, config.trust_store)
    return [path for store in stores if store is not None for path in store.files]


def tls_context(config: TlsConfig) -> ssl.SSLContext:
    """Return the TLS context of the secure port; raises ServerError if a file cannot be used."""
    context = server_context(config, "clients'")
    if config.crl is not None:
        _load_revoked(context, config.crl)
    return context


def server_context(config: TlsConfig | OperatorTls, whose: str) -> ssl.SSLContext:
    """Return the TLS context of a port; raises ServerError if a file cannot be used.

    For messages, ``whose`` says whose certificates the CAs in the trust store sign.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_RENEGOTIATION  # TlsTransport cannot do it, and TLSv1.3 has none
    select_versions(context, config.protocols, config.cipher_suites, "ssl")
    context.verify_mode = _VERIFY_MODES[config.client_auth]
    load_key(context, config.key_store)
    if config.trust_store is not None:
        load_trusted(context, config.trust_store, whose)
    return context


def _load_revoked(context: ssl.SSLContext, path: Path) -> None:
    """Refuse the certificates of clients that a revocation list in a file contains."""
    try:
        context.load_verify_locations(cafile=path)
    except (OSError, ssl.SSLError) as error:
        raise ServerError(
            f"zoolet.crlFile: {path} cannot be used: {error}. It must be a PEM file with revocation"
            " lists (X509 CRL)."
        ) from error
    if not context.cert_store_stats()["crl"]:
        raise ServerError(
            f"zoolet.crlFile: {path} has no revocation list. It must be a PEM file with revocation"
            " lists (X509 CRL)."
        )
    context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF


def select_versions(
    context: ssl.SSLContext, enabled: tuple[str, ...], cipher_suites: tuple[str, ...], prefix: str
) -> None:
    """Set the TLS versions and the cipher suites; raises ServerError if zoo.cfg is invalid.

    Args:
        context: the context to change.
        enabled: the enabled TLS versions, in order.
        cipher_suites: Java's names of the cipher suites; empty means OpenSSL's default.
        prefix: the prefix of the keys in zoo.cfg, for messages.
    """
    suites_13 = set(cipher_suites) & _TLS_13_SUITES
    suites_12 = [
        suite for suite in cipher_suites if suite not in _TLS_13_SUITES and suite != _NO_SUITE
    ]
    protocols = list(enabled)
    if cipher_suites:
        if suites_13 and suites_13 != _TLS_13_SUITES:
            raise ServerError(
                f"{prefix}.ciphersuites: Python cannot select single suites of TLSv1.3. Name all of"
                f" {', '.join(sorted(_TLS_13_SUITES))}, or none of them."
            )
        protocols = [
            protocol
            for protocol, suites in (("TLSv1.2", suites_12), ("TLSv1.3", suites_13))
            if suites and protocol in enabled
        ]
    if not protocols:
        raise ServerError(
            f"{prefix}.ciphersuites has no suite for the enabled TLS versions,"
            f" {' and '.join(enabled)}: add a suite for one of them, or enable another"
            f" version with {prefix}.enabledProtocols."
        )
    context.minimum_version = _VERSIONS[protocols[0]]
    context.maximum_version = _VERSIONS[protocols[-1]]
    if suites_12 and "TLSv1.2" in protocols:
        for suite in suites_12:
            if not _can_select(context, _openssl_name(suite)):
                raise ServerError(
                    f"{prefix}.ciphersuites: zoolet cannot select {suite}. Remove it, or correct"
                    " its name. To list the valid names, run: openssl ciphers -stdname"
                )
        context.set_ciphers(":".join(map(_openssl_name, suites_12)))


def _can_select(context: ssl.SSLContext, name: str) -> bool:
    """Return whether OpenSSL has a cipher suite of TLSv1.2; changes the suites of the context.

    The names of groups of suites, like ALL, do not count.
    """
    try:
        context.set_ciphers(name)
    except ssl.SSLError:
        return False
    return any(cipher["name"] == name for cipher in context.get_ciphers())


def _openssl_name(suite: str) -> str:
    """Return OpenSSL's name of a cipher suite of TLSv1.2; the argument is its name in the RFCs.

    For ``TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256``, the result is ``ECDHE-RSA-AES128-GCM-SHA256``.
    """
    exchange, _, cipher = suite.removeprefix("TLS_").partition("_WITH_")
    if not cipher:
        return suite
    cipher = (
        re.sub(r"(AES|CAMELLIA)_(128|256)", r"\1\2", cipher)
        .replace("_CBC", "")
        .replace("CCM_8", "CCM8")
    )
    if cipher.startswith("CHACHA20"):
        cipher = "CHACHA20_POLY1305"
    name = cipher if exchange == "RSA" else f"{exchange}-{cipher}"
    return name.replace("_", "-")
