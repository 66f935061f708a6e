"""The logins of users at ZooKeeper: digest and SASL, each only for its user; TLS to ZooKeeper."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
import trustme

from tests.support.sasl import PROVIDER
from tests.support.waiting import WAIT_S, wait_until
from tests.support.web import JSON, Browser, browsing, settings_of, users_file
from tests.support.web_process import log_in, web_process
from tests.support.web_streams import serving
from zoolet.client import ACL, Client, ClientOptions, Credential, Id, Permission
from zoolet.client.connecting.tls_files import TlsFiles
from zoolet.testing import EmbeddedServer, ReservedPort

READ = int(Permission.READ)
USERS = {"ann": "anns secret", "bob": "bobs secret"}
NOTHING: Mapping[str, str] = {}
WRONG = {"password": "wrong"}
CREDENTIALS = "/c/local/credentials"


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """A server with SASL, and a znode for each of its users that only this user can read."""
    passwords = {f"zoolet.saslPassword.{name}": password for name, password in USERS.items()}
    settings = {**PROVIDER, **passwords, "zoolet.saslFailureDelayMs": 0}
    with EmbeddedServer(settings=settings) as running:
        for name, password in USERS.items():
            options = ClientOptions(auth=(Credential("sasl", f"{name}:{password}"),))
            with Client(running.hosts, options) as zk:
                zk.create(f"/{name}", name.encode(), acl=(ACL(READ, Id("sasl", name)),))
        yield running


def seen(browser: Browser, name: str) -> str | None:
    """Return the data of a user's znode; None if the browser may not see it."""
    data = browser.get(f"/c/local/tree?path=/{name}")["data"]
    return None if data is None else data["text"]


def fields_of(name: str, more: Mapping[str, str] = NOTHING) -> dict[str, str]:
    return {"scheme": "sasl", "name": name, "password": USERS[name], **more}


def test_a_login_with_sasl(server: EmbeddedServer) -> None:
    with browsing(settings_of(server.hosts)) as web:
        assert seen(web, "ann") is None
        for wrong in (fields_of("ann", WRONG), fields_of("ann", {"name": "eve"})):
            error = web.post(CREDENTIALS, wrong, 403)["error"]
            assert error.startswith("local does not accept this login: ")
            assert "wrong" not in error.replace("is wrong", "")
            assert seen(web, "ann") is None
            assert web.get(CREDENTIALS)["name"] is None
        web.post(CREDENTIALS, fields_of("ann"))
        assert (seen(web, "ann"), seen(web, "bob")) == ("ann", None)
        assert web.get(CREDENTIALS)["scheme"] == "sasl"
        # Another login replaces it, also if it is refused.
        web.post(CREDENTIALS, fields_of("bob"))
        assert (seen(web, "ann"), seen(web, "bob")) == (None, "bob")
        web.post(CREDENTIALS, fields_of("ann", WRONG), 403)
        assert (seen(web, "ann"), seen(web, "bob")) == (None, None)


def test_two_users_at_the_same_time_see_only_what_is_theirs(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    settings = settings_of(server.hosts, users_file=users_file(tmp_path))
    pairs = {"ann": ("ed", "bob"), "bob": ("vi", "ann")}

    def look(name: str) -> None:
        user, other = pairs[name]
        with httpx2.Client(base_url=url, timeout=WAIT_S, headers=JSON) as client:
            log_in(client, user)
            client.post(CREDENTIALS, data=fields_of(name)).raise_for_status()
            for _ in range(50):
                own = client.get(f"/c/local/tree?path=/{name}").json()
                assert own["data"]["text"] == name
                assert client.get(f"/c/local/tree?path=/{other}").json()["data"] is None
            client.post("/logout").raise_for_status()
            # The same browser and the same user, after another login at the page.
            log_in(client, user)
            assert client.get(f"/c/local/tree?path=/{name}").json()["data"] is None
            assert client.get(CREDENTIALS).json()["name"] is None

    with serving(settings) as running, ThreadPoolExecutor() as pool:
        url = running.url
        for found in [pool.submit(look, name) for name in pairs for _ in range(2)]:
            found.result(WAIT_S)


def sessions_of(server: EmbeddedServer) -> set[int]:
    return {found.session_id for found in server.inside.sessions()}


def test_a_logout_ends_the_session_at_zookeeper(server: EmbeddedServer, tmp_path: Path) -> None:
    with browsing(settings_of(server.hosts, users_file=users_file(tmp_path))) as web:
        web.log_in("vi")
        before = sessions_of(server)
        web.post(CREDENTIALS, fields_of("ann"))
        assert seen(web, "ann") == "ann"
        (added,) = sessions_of(server) - before
        web.post("/logout", {})
        wait_until(lambda: added not in sessions_of(server), "the session has ended")


# --- TLS


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The secure address of a server that asks for certificates, and the folder of the files."""
    authority, reserved = trustme.CA(), ReservedPort()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    for name, identity in (("server", "127.0.0.1"), ("page", "page")):
        issued = authority.issue_cert(identity)
        issued.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / f"{name}.pem"))
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "stranger.pem"))
    settings = {
        "secureClientPort": reserved.number,
        "secureClientPortAddress": "127.0.0.1",
        "ssl.keyStore.location": tmp_path / "server.pem",
        "ssl.trustStore.location": tmp_path / "ca.pem",
        "ssl.clientAuth": "need",
    }
    with EmbeddedServer(settings=settings):
        yield f"127.0.0.1:{reserved.number}", tmp_path
    reserved.release()


def test_tls_to_zookeeper(secure: tuple[str, Path]) -> None:
    hosts, folder = secure
    page = folder / "page.pem"
    options = ("--tls-ca", folder / "ca.pem", "--tls-cert", page, "--tls-key", page)
    with web_process(hosts, folder, *options) as web:
        answer = httpx2.get(f"{web.url}/c/local/tree?path=/", headers=JSON, timeout=WAIT_S)
        assert answer.json()["path"] == "/"
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("ca", "cert"), [("stranger.pem", "page.pem"), ("ca.pem", None), (None, None)]
)
def test_a_connection_that_tls_refuses_is_explained(
    secure: tuple[str, Path], ca: str | None, cert: str | None
) -> None:
    hosts, folder = secure
    files = None if ca is None else TlsFiles(folder / ca, None if cert is None else folder / cert)
    settings = settings_of(hosts, zookeeper_tls=files, connect_timeout_ms=2000)
    with browsing(settings) as web:
        error = web.get("/c/local/tree?path=/", 503)["error"]
        assert "no session" in error
        assert hosts in error
