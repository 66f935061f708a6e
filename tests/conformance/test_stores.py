"""Stores that Java's keytool and OpenSSL make: zoolet reads them, or says how to convert them."""

import re
import shlex
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
import trustme

from tests.support.secure import Stores, word
from tests.support.skips import needs
from zoolet.server.common.errors import ServerError
from zoolet.server.sockets.stores import load_key, load_trusted
from zoolet.server.zoo_cfg.config import StoreConfig, StoreFormat
from zoolet.testing import ReservedPort, ServerProcess

PASSWORD = "pässword"
KEYTOOL = pytest.mark.skipif(
    shutil.which("keytool") is None, reason=needs("keytool", "default-jre-headless")
)
OPENSSL = pytest.mark.skipif(shutil.which("openssl") is None, reason=needs("openssl", "openssl"))


def run(*command: object, given: str = "") -> str:
    found = subprocess.run(
        [str(part) for part in command],
        input=given,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def keytool(*arguments: object, legacy: bool = False) -> None:
    options = ["-J-Dkeystore.pkcs12.legacy"] if legacy else []
    run("keytool", "-J-Dfile.encoding=UTF-8", "-J-Dsun.jnu.encoding=UTF-8", *options, *arguments)


def make_key(path: Path, *options: object, password: str, legacy: bool = False) -> None:
    keytool(
        *("-genkeypair", "-keystore", path, "-storepass", password, "-alias", "server"),
        *("-keyalg", "EC", "-dname", "CN=localhost", "-ext", "san=dns:localhost", *options),
        legacy=legacy,
    )


def config_of(path: Path, password: str) -> StoreConfig:
    return StoreConfig("ssl.keyStore", path, StoreFormat.PKCS12, password, None)


@KEYTOOL
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("suffix", [".p12", ".jks"])
def test_stores_of_keytool(tmp_path: Path, suffix: str, *, legacy: bool) -> None:
    keys, trusted = tmp_path / f"keys{suffix}", tmp_path / f"trusted{suffix}"
    certificate = tmp_path / "own.pem"
    make_key(keys, password="password", legacy=legacy)
    own = ("-keystore", keys, "-storepass", "password", "-alias", "server", "-rfc")
    keytool("-exportcert", *own, "-file", certificate)
    keytool(
        *("-importcert", "-noprompt", "-keystore", trusted, "-storepass", "password"),
        *("-alias", "ca", "-file", certificate),
        legacy=legacy,
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    load_key(server, config_of(keys, "password"))
    load_trusted(client, config_of(trusted, "password"), "clients'")
    assert client.cert_store_stats()["x509"] == 1


@KEYTOOL
def test_the_command_in_the_message_converts_a_jks_store(tmp_path: Path) -> None:
    keys = tmp_path / "keys.jks"
    make_key(keys, "-storetype", "JKS", "-keypass", "password", password="password")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.raises(ServerError) as refused:
        load_key(server, config_of(keys, "password"))
    (command,) = re.findall(r"keytool -importkeystore .*PKCS12", str(refused.value))
    run(*shlex.split(command), given="password\npassword\npassword\n")
    load_key(server, config_of(tmp_path / "keys.p12", "password"))


@OPENSSL
@pytest.mark.parametrize("options", [(), ("-legacy",), ("-nomac",)], ids=str)
def test_stores_of_openssl(tmp_path: Path, options: tuple[str, ...]) -> None:
    issued = trustme.CA().issue_cert("localhost")
    pem, keys = tmp_path / "own.pem", tmp_path / "keys.p12"
    issued.private_key_and_cert_chain_pem.write_to_path(pem)
    run(
        *("openssl", "pkcs12", "-export", "-in", pem, "-out", keys, *options),
        *("-passout", f"pass:{PASSWORD}"),
    )
    load_key(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), config_of(keys, PASSWORD))


@OPENSSL
def test_openssl_as_a_client(tmp_path: Path) -> None:
    stores = Stores(tmp_path)
    port = ReservedPort()
    settings = {
        "secureClientPort": port.number,
        "client.portUnification": "true",
        **stores.settings,
    }
    with ServerProcess(tmp_path / "server", settings) as server:
        for number in (port.number, server.port):
            printed = run(
                *("openssl", "s_client", "-quiet", "-verify_return_error"),
                *("-connect", f"127.0.0.1:{number}", "-servername", "localhost"),
                *("-CAfile", stores.authority, "-cert", stores.client, "-key", stores.client),
                given="ruok",
            )
            assert printed == "imok"
        assert word(server.port, "ruok") == b"imok"
    port.release()
