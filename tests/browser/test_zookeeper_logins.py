"""The login at ZooKeeper in a real browser: digest and SASL, until the logout of the page."""

from pathlib import Path
from typing import Any

from tests.browser.conftest import Serve, log_in, plain_on_both, wait_for_page
from tests.support.web import settings_of, users_file
from zoolet.client import ACL, Client, ClientOptions, Credential, Id, Permission
from zoolet.testing.servers.base import ManagedServer

SECRET = "anns secret"


def use_login(tab: Any, scheme: str, password: str) -> None:
    """Enter a login at ZooKeeper on its page."""
    tab.get_by_role("link", name="Login at ZooKeeper").click()
    tab.get_by_label("Scheme").select_option(scheme)
    tab.get_by_label("Name").fill("ann")
    tab.get_by_label("Password").fill(password)
    tab.get_by_role("button", name="Use this login").click()


@plain_on_both
def test_a_digest_and_a_sasl_login_open_what_is_private(
    tab: Any, serve: Serve, server: ManagedServer, zk: Client, tmp_path: Path
) -> None:
    for scheme in ("digest", "sasl"):
        credential = Credential(scheme, f"ann:{SECRET}")
        with Client(server.hosts, ClientOptions(auth=(credential,))) as owner:
            own = (ACL(int(Permission.ALL), Id("auth", "")),)
            owner.create(f"/{scheme}", f"of {scheme}".encode(), acl=own)
    url = serve(settings_of(server.hosts, users_file=users_file(tmp_path)))
    tab.goto(f"{url}/c/local/tree?path=/digest")
    log_in(tab, "vi")
    tab.locator("#data-error").get_by_text("permi").wait_for()
    for scheme, other in (("digest", "sasl"), ("sasl", "digest")):
        use_login(tab, scheme, SECRET)
        tab.goto(f"{url}/c/local/tree?path=/{scheme}")
        tab.locator("#data").get_by_text(f"of {scheme}").wait_for()
        tab.goto(f"{url}/c/local/tree?path=/{other}")
        tab.locator("#data-error").wait_for()
    use_login(tab, "sasl", "wrong")
    wait_for_page(tab, "Error 403")
    tab.get_by_text("local does not accept this login").wait_for()
    use_login(tab, "digest", SECRET)
    tab.goto(f"{url}/c/local/credentials")
    tab.get_by_text("Current login: digest ann").wait_for()
    assert SECRET not in tab.content()
    tab.get_by_role("button", name="Log out").click()
    log_in(tab, "vi")
    tab.goto(f"{url}/c/local/tree?path=/digest")
    tab.locator("#data-error").wait_for()
    for scheme in ("digest", "sasl"):
        zk.delete(f"/{scheme}")
