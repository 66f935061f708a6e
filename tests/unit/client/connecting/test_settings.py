"""How a client reaches ZooKeeper: what contradicts itself is refused, and no secret is shown."""

from pathlib import Path

import pytest

from zoolet.client.connecting.options import Credential
from zoolet.client.connecting.settings import (
    ConnectionSettings,
    SettingsError,
    parse_credential,
    tls_files,
)
from zoolet.client.connecting.tls_files import TlsFiles
from zoolet.model.addresses import AddressError


def test_a_login_has_a_scheme_and_a_secret() -> None:
    assert parse_credential("digest:ann:a:b c") == ("digest", "ann:a:b c")
    for text in ("digest", ":x", "", "di gest:x", "sasl:ann"):
        with pytest.raises(SettingsError) as caught:
            parse_credential(text)
        assert "ann" not in str(caught.value)


def test_no_text_shows_a_secret() -> None:
    credential = Credential("digest", "ann:hidden")
    settings = ConnectionSettings("h:1", auth=(credential,))
    for shown in (repr(credential), str(credential), repr(settings), f"{(credential,)}"):
        assert "hidden" not in shown


def test_files_of_tls_belong_together(tmp_path: Path) -> None:
    ca, cert = tmp_path / "ca", tmp_path / "cert"
    ca.touch()
    cert.touch()
    assert tls_files(None, None, None) is None
    assert tls_files(ca, cert, None) == TlsFiles(ca, cert)
    for files, complaint in (
        ((None, cert, None), "need --tls-ca"),
        ((ca, None, cert), "needs --tls-cert"),
        ((tmp_path / "no", None, None), "cannot be read"),
        ((tmp_path, None, None), "cannot be read"),
    ):
        with pytest.raises(SettingsError, match=complaint):
            tls_files(*files)


def test_a_chroot_moves_to_the_root() -> None:
    settings = ConnectionSettings("h:1,i:2/a")
    assert settings.moving_chroot("/") == (ConnectionSettings("h:1,i:2"), "/a")
    assert settings.moving_chroot("/b") == (ConnectionSettings("h:1,i:2"), "/a/b")
    with pytest.raises(AddressError):
        ConnectionSettings("h:x").moving_chroot("/")
    with pytest.raises(SettingsError, match="must be 1 to"):
        ConnectionSettings("h:1", connect_timeout_ms=0)
