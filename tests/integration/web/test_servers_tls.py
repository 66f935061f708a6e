"""Four-letter words over TLS: the page uses it if it uses TLS to ZooKeeper."""

from pathlib import Path

import pytest
import trustme

from tests.support.waiting import wait_until
from tests.support.web import browsing, settings_of
from zoolet.client.connecting.tls_files import TlsFiles
from zoolet.testing import ServerProcess
from zoolet.testing.servers.base import ReservedPort


def test_the_words_are_sent_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoolet.web.servers.sampling.INTERVAL_S", 0.1)
    authority = trustme.CA()
    server_pem, client_pem, ca_pem = (tmp_path / name for name in ("s.pem", "c.pem", "ca.pem"))
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(server_pem)
    authority.issue_cert("client").private_key_and_cert_chain_pem.write_to_path(client_pem)
    authority.cert_pem.write_to_path(ca_pem)
    reserved = ReservedPort()
    settings = {
        "secureClientPort": reserved.number,
        "secureClientPortAddress": "127.0.0.1",
        "ssl.keyStore.location": server_pem,
        "ssl.trustStore.location": ca_pem,
    }
    address = f"localhost:{reserved.number}"
    with ServerProcess(tmp_path / "server", settings):
        tls = TlsFiles(ca_pem, client_pem)
        with browsing(settings_of(address, zookeeper_tls=tls)) as web:

            def is_known() -> bool:
                (shown,) = web.get("/c/local/server")["servers"]
                return bool(shown["mode"] == "standalone" and not shown["problem"])

            wait_until(is_known, "a sample over TLS")
            listed = web.get("/c/local/sessions")
            assert listed["problems"] == []
            assert listed["all"] == 1
        with browsing(settings_of(address, zookeeper_tls=TlsFiles(ca_pem))) as web:

            def is_refused() -> bool:
                (shown,) = web.get("/c/local/server")["servers"]
                return shown["mode"] is None and address in shown["problem"]

            wait_until(is_refused, "a refused sample")
