"""The keys of zoo.cfg about TLS: for clients, and between the members of an ensemble.

Source: as for ``used_keys``.
"""

from typing import Final

from zoolet.server.zoo_cfg.config import PROTOCOLS
from zoolet.server.zoo_cfg.key import Flag, Key, Text
from zoolet.server.zoo_cfg.key_rows import (
    ADDRESS,
    ALL_ADDRESSES_NOTE,
    file_key,
    own_key,
    port,
    property_key,
)

_FILE: Final = Text("file")
_PASSWORD: Final = Text("password")
_STORE: Final = Text("PEM or PKCS12 file")
_STORE_TYPE: Final = Text("`PEM`, `PKCS12` or `JKS`")
_STORE_NOTE: Final = "for another format, the error message says how to convert the file"
_TYPE_NOTE: Final = (
    "a JKS store must have the content PKCS12, as Java has written it since Java 9; no BCFKS"
)
_TRUST_NOTE: Final = (
    "zoolet trusts all certificates of a PKCS12 store, and refuses one with a private key"
)


def _stores(prefix: str, key_holder: str, signed: str) -> tuple[Key, ...]:
    """Return the rows of the key store and the trust store whose keys begin with ``prefix``."""
    return (
        property_key(
            f"{prefix}.keyStore.location",
            _STORE,
            f"{key_holder} private key and certificates",
            _STORE_NOTE,
        ),
        property_key(
            f"{prefix}.trustStore.location",
            _STORE,
            f"the certificates of the CAs that sign {signed} certificates",
            f"{_STORE_NOTE}; {_TRUST_NOTE}",
        ),
        *(
            row
            for kind in ("key", "trust")
            for row in (
                property_key(
                    f"{prefix}.{kind}Store.type",
                    _STORE_TYPE,
                    f"the format of the {kind} store; if it is not set, the name must end with"
                    " .pem, .p12 or .jks",
                    _TYPE_NOTE,
                ),
                property_key(
                    f"{prefix}.{kind}Store.password", _PASSWORD, f"the password of the {kind} store"
                ),
                property_key(
                    f"{prefix}.{kind}Store.passwordPath",
                    _FILE,
                    f"the file with the password of the {kind} store",
                ),
            )
        ),
    )


def _versions(prefix: str, suites_note: str) -> tuple[Key, ...]:
    """Return the rows of the TLS versions and the cipher suites."""
    return (
        property_key(
            f"{prefix}.protocol",
            Text("`TLSv1.2` or `TLSv1.3`"),
            f"the only TLS version; ignored if `{prefix}.enabledProtocols` is set",
        ),
        property_key(
            f"{prefix}.enabledProtocols",
            Text("list of versions", ",".join(PROTOCOLS)),
            "the enabled TLS versions",
            "Apache's default is TLSv1.3 only",
        ),
        property_key(
            f"{prefix}.ciphersuites",
            Text("list of cipher suites"),
            "Java's names of the cipher suites; if it is not set, OpenSSL's default",
            suites_note,
        ),
    )


QUORUM_STORES: Final = _stores("ssl.quorum", "an observer's", "members'")
QUORUM_VERSIONS: Final = _versions("ssl.quorum", "")

TLS: Final = (
    file_key(
        "secureClientPort",
        port(0),
        "the port for clients that use TLS; without `clientPort`, the only port for clients",
    ),
    file_key(
        "secureClientPortAddress",
        ADDRESS,
        "the address of `secureClientPort`; if it is not set, all addresses",
        ALL_ADDRESSES_NOTE,
    ),
    property_key(
        "client.portUnification",
        Flag(False),
        "`clientPort` serves clients with TLS too",
        "in Apache only with `NettyServerCnxnFactory`",
    ),
    *_stores("ssl", "the server's", "clients'"),
    property_key(
        "ssl.clientAuth",
        Text("`need`, `want` or `none`", "need"),
        "whether a client must present a certificate",
    ),
    *_versions(
        "ssl",
        "the client's order of preference applies; the list must have all three suites of TLSv1.3,"
        " or none",
    ),
    property_key(
        "ssl.crl",
        Flag(False),
        "refuse certificates of clients that a revocation list contains",
        "the lists are in the file `zoolet.crlFile`; Apache downloads them",
    ),
)

OWN_TLS: Final = (
    own_key(
        "zoolet.crlFile",
        Text("PEM file"),
        "the revocation lists of the CAs in `ssl.trustStore.location`, for `ssl.crl=true`; the"
        " server reads it again when it changes",
    ),
)
