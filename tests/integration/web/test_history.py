"""The past of a cluster: older changes and two moments, and what each user may see of them."""

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.web import Browser, browsing, settings_of
from zoolet.client import ACL, OPEN_ACL, Client, ClientOptions, Credential, Id, Permission
from zoolet.testing import EmbeddedServer
from zoolet.web.settings import PastSource, WebSettingsError, parse_past

ANN = Credential("digest", "ann:secret")
ONLY_ANN = (ACL(int(Permission.ALL), Id("auth", "")),)
ADMIN_ONLY = (ACL(int(Permission.ALL & ~Permission.READ), Id("world", "anyone")),)


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path / "server") as running:
        yield running


@pytest.fixture
def zk(stored: EmbeddedServer) -> Iterator[Client]:
    with Client(stored.hosts, ClientOptions(auth=(ANN,))) as client:
        yield client


@pytest.fixture
def web(stored: EmbeddedServer, tmp_path: Path) -> Iterator[Browser]:
    source = PastSource(str(tmp_path / "server" / "data"), is_archive=False)
    with browsing(settings_of(stored.hosts, past={"local": source})) as browser:
        yield browser


def as_ann(web: Browser) -> None:
    web.post("/c/local/credentials", {"scheme": "digest", "name": "ann", "password": "secret"})


def kinds(found: Any) -> list[tuple[str, str]]:
    return [(change["kind"], change["path"]) for change in found["changes"]]


def test_older_changes_have_their_values(web: Browser, zk: Client) -> None:
    zk.create("/a", b"one")
    stat = zk.set("/a", b"\xff\x00")
    zk.create("/a/<b>", b"x")
    zk.delete("/a/<b>")
    found = web.get("/c/local/history?path=/a")
    assert kinds(found) == [
        ("deleted", "/a/<b>"),
        ("created", "/a/<b>"),
        ("data", "/a"),
        ("created", "/a"),
    ]
    changed = found["changes"][2]
    assert (changed["old"]["text"], changed["new"]["text"]) == ("one", "ff 00")
    assert (changed["version"], int(changed["zxid"], 16)) == (1, stat.mzxid)
    assert kinds(web.get("/c/local/history?path=/a&recursive=0")) == kinds(found)[2:]
    until = f"/c/local/history?path=/a&until={stat.mzxid:#x}"
    assert kinds(web.get(until)) == kinds(found)[2:]
    page = web.html("/c/local/history?path=/a")
    assert "/a/&lt;b&gt;" in page


def test_a_value_needs_the_permission_of_now_and_of_then(web: Browser, zk: Client) -> None:
    zk.create("/opened", b"secret", acl=ONLY_ANN)
    zk.set("/opened", b"still hers")
    zk.set_acl("/opened", OPEN_ACL)
    zk.set("/opened", b"public")
    zk.create("/closed", b"before")
    zk.set_acl("/closed", ADMIN_ONLY)
    zk.create("/gone", b"hers", acl=ONLY_ANN)
    zk.delete("/gone")
    zk.create("/free", b"all")
    zk.delete("/free")
    found = web.get("/c/local/history?path=/")
    text = str(found)
    for value in ("'secret'", "'before'", "'hers'", "/closed", "/gone"):
        assert value not in text, value
    assert "public" in text
    assert ("deleted", "/free") in kinds(found)
    assert found["num_hidden"] == 4
    as_ann(web)
    text = str(web.get("/c/local/history?path=/"))
    assert "'secret'" in text
    assert "'hers'" in text
    assert "/closed" not in text


def test_names_below_a_deleted_private_znode_stay_private(web: Browser, zk: Client) -> None:
    zk.create("/private", b"", acl=ONLY_ANN)
    zk.create("/private/name", b"x")
    zk.delete_recursive("/private")
    assert "/private" not in str(web.get("/c/local/history?path=/")["changes"])
    as_ann(web)
    assert ("created", "/private/name") in kinds(web.get("/c/local/history?path=/"))


def test_a_subtree_as_cluster_shows_only_its_past(
    stored: EmbeddedServer, zk: Client, tmp_path: Path
) -> None:
    zk.create("/app", b"")
    zk.create("/app/a", b"in")
    zk.create("/apple", b"out")
    source = PastSource(str(tmp_path / "server" / "data"), is_archive=False)
    with browsing(settings_of(f"{stored.hosts}/app", past={"local": source})) as web:
        assert kinds(web.get("/c/local/history?path=/")) == [("created", "/a"), ("created", "/")]


def test_two_moments_are_compared(web: Browser, zk: Client) -> None:
    zk.create("/a", b"1\n2\n3\n")
    first = zk.create("/a/gone", b"<old>").stat.czxid
    zk.set("/a", b"1\nX\n3\n")
    zk.delete("/a/gone")
    zk.create("/a/new", b"")
    zk.create("/other", b"")
    url = f"/c/local/compare?path=/a&from={first:#x}&to=now"
    found = web.get(url)
    shown = [(one["kind"], one["path"], one["what"]) for one in found["differences"]]
    assert shown == [
        ("changed", "/a", ["data"]),
        ("deleted", "/a/gone", []),
        ("created", "/a/new", []),
    ]
    assert ["2", "X", True] in found["differences"][0]["rows"]
    assert "&lt;old&gt;" in web.html(url)
    assert found["total"] == 3
    assert web.get(f"/c/local/compare?path=/a&from={first:#x}&to={first:#x}")["total"] == 0


def test_a_comparison_hides_what_a_user_may_not_read(web: Browser, zk: Client) -> None:
    first = zk.create("/start").stat.czxid
    zk.create("/hidden", b"secret", acl=ONLY_ANN)
    zk.create("/opened", b"secret", acl=ONLY_ANN)
    second = zk.set("/opened", b"more").mzxid
    zk.set_acl("/opened", OPEN_ACL)
    url = f"/c/local/compare?path=/&from={first:#x}&to={second:#x}"
    found = web.get(url)
    assert "secret" not in str(found)
    assert found["num_hidden"] == 1
    assert [(one["path"], one["is_hidden"]) for one in found["differences"]] == [("/opened", True)]
    as_ann(web)
    assert "secret" in str(web.get(url))


def test_hidden_values_of_random_changes_stay_hidden(web: Browser, zk: Client) -> None:
    """Each value begins with the name of its reader at the time when it is stored."""
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    acls = {"open": OPEN_ACL, "ann": ONLY_ANN}
    names: dict[str, str] = {}
    for number in range(150):
        path = f"/z{chance.randrange(8)}"
        who = names.get(path)
        if who is None:
            who = names[path] = chance.choice(list(acls))
            zk.create(path, f"{who}-{number}".encode(), acl=acls[who])
        elif chance.random() < 0.2:
            zk.delete(path)
            del names[path]
        elif chance.random() < 0.3:
            who = names[path] = chance.choice(list(acls))
            zk.set_acl(path, acls[who])
            zk.set(path, f"{who}-{number}".encode())
        else:
            zk.set(path, f"{who}-{number}".encode())
    found = web.get("/c/local/history?path=/")
    news = [change["new"]["text"] for change in found["changes"] if change["new"]]
    assert not [text for text in news if text.startswith("ann")], f"seed {seed}"
    as_ann(web)
    own = web.get("/c/local/history?path=/")
    assert own["num_hidden"] == 0, f"seed {seed}"
    assert {change["path"] for change in own["changes"]} >= set(names), f"seed {seed}"


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("/c/local/history?path=x", 400),
        ("/c/local/history?path=/&since=yesterday", 400),
        ("/c/local/compare?path=/&from=--help", 400),
        ("/c/local/compare?path=/&from=now", 400),
    ],
)
def test_wrong_requests_are_explained(web: Browser, url: str, status: int) -> None:
    assert web.get(url, status)["error"]


def test_without_a_source_the_page_says_which_option_is_missing(stored: EmbeddedServer) -> None:
    with browsing(settings_of(stored.hosts)) as web:
        assert "--archive local=URL" in web.get("/c/local/history?path=/", 404)["error"]
        assert "--archive local=URL" in web.html("/c/local/changes")


def test_a_source_that_cannot_be_read_is_no_traceback(
    stored: EmbeddedServer, tmp_path: Path
) -> None:
    source = PastSource(str(tmp_path / "none"), is_archive=False)
    with browsing(settings_of(stored.hosts, past={"local": source})) as web:
        error = web.get("/c/local/history?path=/", 502)["error"]
        assert str(tmp_path) not in error
        assert "Traceback" not in error


def test_an_archive_is_read(stored: EmbeddedServer, zk: Client, tmp_path: Path) -> None:
    zk.create("/a", b"archived")
    place = str(tmp_path / "archive")
    arguments = ["--from-dir", str(tmp_path / "server" / "data"), "--to", place, "--once"]
    subprocess.run([sys.executable, "-m", "zoolet", "archive", *arguments], check=True, timeout=120)
    past = {"local": PastSource(place, is_archive=True)}
    with browsing(settings_of(stored.hosts, past=past)) as web:
        assert "archived" in str(web.get("/c/local/history?path=/a")["changes"])


def test_options_of_the_past_fit_together() -> None:
    names = frozenset({"a", "b"})
    found = parse_past(("a=s3://x/y=z",), ("b=/d",), ("a=/key",), ("b=/logs",), names)
    assert found["a"] == PastSource("s3://x/y=z", is_archive=True, key_file=Path("/key"))
    assert found["b"] == PastSource("/d", is_archive=False, logs=Path("/logs"))
    for wrong in [
        (("a",), (), (), ()),
        (("c=x",), (), (), ()),
        (("a=x", "a=y"), (), (), ()),
        (("a=x",), ("a=y",), (), ()),
        (("a=--help",), (), (), ()),
        ((), ("a=x",), ("a=k",), ()),
        (("a=x",), (), (), ("a=l",)),
    ]:
        with pytest.raises(WebSettingsError):
            parse_past(*wrong, names)
