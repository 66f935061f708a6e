"""The settings of the page: unsafe combinations do not exist, and the message names the option."""

from pathlib import Path
from typing import Any

import pytest

from zoolet.web.settings import (
    Cluster,
    WebSettings,
    WebSettingsError,
    parse_cluster,
    parse_colour,
    parse_listen,
    parse_network,
)

ONE = (Cluster("a", "127.0.0.1:2181"),)
USERS = Path("users")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"clusters": ()}, "--server"),
        ({"clusters": ONE * 2}, "same name"),
        ({"base_path": "/a/"}, "--base-path"),
        ({"base_path": "a"}, "--base-path"),
        ({"host": "0.0.0.0"}, "--users-file"),
        ({"host": "10.0.0.1"}, "--users-file"),
        ({"allows_changes": True}, "--users-file"),
        ({"allows_changes": True, "trusted_proxies": (parse_network("::1"),)}, "--users-file"),
        ({"host": "0.0.0.0", "users_file": USERS}, "--host"),
        ({"host": "::", "users_file": USERS}, "--host"),
    ],
)
def test_settings_that_are_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(WebSettingsError, match=message):
        WebSettings(**{"clusters": ONE, **more})


def test_the_names_that_browsers_may_use() -> None:
    own = WebSettings(ONE)
    assert own.accepted_names == {"localhost", "127.0.0.1", "[::1]"}
    far = WebSettings(ONE, host="0.0.0.0", users_file=USERS, names=frozenset({"ZK.example"}))
    assert far.accepted_names == {"zk.example"}
    assert far.needs_login
    assert WebSettings(ONE, host="::1", base_path="/zk").url == "http://[::1]:8090/zk/"


def test_clusters_colours_and_addresses() -> None:
    assert parse_cluster("a=h:1,i:2/x") == Cluster("a", "h:1,i:2/x", "grey")
    assert parse_colour("a=red") == ("a", "red")
    assert parse_listen("[::1]:0") == ("::1", 0)
    assert parse_listen("localhost:80") == ("localhost", 80)


@pytest.mark.parametrize("text", ["a", "=h:1", "a b=h:1", "a=h:x", "../x=h:1"])
def test_a_cluster_that_is_refused(text: str) -> None:
    with pytest.raises(WebSettingsError):
        parse_cluster(text)


@pytest.mark.parametrize("text", ["", "8090", "::1:80", "h:99999", "[h]:80", "h:"])
def test_an_address_that_is_refused(text: str) -> None:
    with pytest.raises(WebSettingsError):
        parse_listen(text)


def test_a_colour_and_a_proxy_that_are_refused() -> None:
    with pytest.raises(WebSettingsError, match="NAME=COLOUR"):
        parse_colour("a=pink")
    with pytest.raises(WebSettingsError, match="--trusted-proxy"):
        parse_network("10.0.0.1/8")
