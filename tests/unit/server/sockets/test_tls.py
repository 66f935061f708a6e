"""The secure port's TLS: versions and cipher suites, by a handshake with each."""

import ssl
from pathlib import Path

import pytest
import trustme

from zoolet.server.common.errors import ServerError
from zoolet.server.sockets.tls import tls_context
from zoolet.server.zoo_cfg.config import ClientAuth, Listener, StoreConfig, StoreFormat, TlsConfig

ECDHE_128 = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
ECDHE_256 = "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384"
CHACHA = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"
SUITES_13 = ("TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256")
BOTH = ("TLSv1.2", "TLSv1.3")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def key_store(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(path)
    return path


def context_of(
    key_store: Path, protocols: tuple[str, ...] = BOTH, suites: tuple[str, ...] = ()
) -> ssl.SSLContext:
    config = TlsConfig(
        Listener(None, 1),
        False,
        StoreConfig("ssl.keyStore", key_store, StoreFormat.PEM, "", None),
        None,
        None,
        ClientAuth.NONE,
        protocols,
        suites,
    )
    return tls_context(config)


def negotiated(server: ssl.SSLContext, authority: trustme.CA, newest: str) -> tuple[str, str]:
    """Return the version and the cipher of a handshake with a client up to a version."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client)
    client.minimum_version = ssl.TLSVersion.TLSv1_2
    client.maximum_version = ssl.TLSVersion(0x0304 if newest == "TLSv1.3" else 0x0303)
    pipes = [ssl.MemoryBIO() for _ in range(2)]
    ends = (
        client.wrap_bio(pipes[0], pipes[1], server_hostname="localhost"),
        server.wrap_bio(pipes[1], pipes[0], server_side=True),
    )
    unfinished = list(ends)
    for _ in range(10):
        for end in tuple(unfinished):
            try:
                end.do_handshake()
                unfinished.remove(end)
            except ssl.SSLWantReadError:
                pass
    assert not unfinished
    cipher, version = ends[0].cipher(), ends[0].version()
    assert cipher is not None
    assert version is not None
    return version, cipher[0]


@pytest.mark.parametrize(
    ("protocols", "newest", "version"),
    [
        (BOTH, "TLSv1.3", "TLSv1.3"),
        (BOTH, "TLSv1.2", "TLSv1.2"),
        (("TLSv1.2",), "TLSv1.3", "TLSv1.2"),
        (("TLSv1.3",), "TLSv1.3", "TLSv1.3"),
        (("TLSv1.3",), "TLSv1.2", None),
    ],
)
def test_only_the_versions_of_zoo_cfg_are_served(
    key_store: Path,
    authority: trustme.CA,
    protocols: tuple[str, ...],
    newest: str,
    version: str | None,
) -> None:
    server = context_of(key_store, protocols)
    if version is None:
        with pytest.raises(ssl.SSLError):
            negotiated(server, authority, newest)
    else:
        assert negotiated(server, authority, newest)[0] == version


@pytest.mark.parametrize(
    ("suites", "newest", "cipher"),
    [
        ((ECDHE_128,), "TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256"),
        ((ECDHE_128,), "TLSv1.3", "ECDHE-ECDSA-AES128-GCM-SHA256"),
        (
            (ECDHE_128, "TLS_EMPTY_RENEGOTIATION_INFO_SCSV"),
            "TLSv1.2",
            "ECDHE-ECDSA-AES128-GCM-SHA256",
        ),
        ((ECDHE_256,), "TLSv1.3", "ECDHE-ECDSA-AES256-SHA384"),
        ((CHACHA, *SUITES_13), "TLSv1.2", "ECDHE-ECDSA-CHACHA20-POLY1305"),
        ((CHACHA, *SUITES_13), "TLSv1.3", "TLS_AES_256_GCM_SHA384"),
        (SUITES_13, "TLSv1.2", None),
        (("ECDHE-ECDSA-AES128-GCM-SHA256",), "TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256"),
    ],
)
def test_only_the_cipher_suites_of_zoo_cfg_are_served(
    key_store: Path,
    authority: trustme.CA,
    suites: tuple[str, ...],
    newest: str,
    cipher: str | None,
) -> None:
    server = context_of(key_store, BOTH, suites)
    if cipher is None:
        with pytest.raises(ssl.SSLError):
            negotiated(server, authority, newest)
    else:
        assert negotiated(server, authority, newest)[1] == cipher


@pytest.mark.parametrize(
    ("protocols", "suites", "said"),
    [
        (BOTH, ("TLS_NO_SUCH_SUITE",), "cannot select TLS_NO_SUCH_SUITE"),
        (BOTH, ("ALL",), "cannot select ALL"),
        (BOTH, (ECDHE_128, "AESGCM:!ECDHE"), "cannot select AESGCM:!ECDHE"),
        (BOTH, ("TLS_EMPTY_RENEGOTIATION_INFO_SCSV",), "no suite for the enabled TLS versions"),
        (BOTH, (ECDHE_128, "TLS_RSA_WITH_NOTHING"), "cannot select TLS_RSA_WITH_NOTHING"),
        (BOTH, SUITES_13[:2], "cannot select single suites of TLSv1.3"),
        (("TLSv1.3",), (ECDHE_128,), "enabled TLS versions, TLSv1.3"),
        (("TLSv1.2",), SUITES_13, "enabled TLS versions, TLSv1.2"),
    ],
)
def test_suites_that_cannot_be_served_refuse_the_start(
    key_store: Path, protocols: tuple[str, ...], suites: tuple[str, ...], said: str
) -> None:
    with pytest.raises(ServerError, match=said):
        context_of(key_store, protocols, suites)
