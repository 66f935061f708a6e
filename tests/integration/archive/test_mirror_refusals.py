"""What a server refuses ends a mirror with the side, the znode, the reason, and what to do."""

import base64
import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mirrors import run_here
from zoolet.client import ACL, OPEN_ACL, Client, ClientOptions, Credential, Id, Multi
from zoolet.testing import ApacheServer, EmbeddedServer

MAX_BYTES = 20_000
DIGEST = base64.b64encode(hashlib.sha1(b"ann:secret").digest()).decode()
ANN = ACL(31, Id("digest", f"ann:{DIGEST}"))
"""All permissions for ann:secret."""


def acl_without(letters: str) -> tuple[ACL, ...]:
    """Return an ACL that gives all permissions but these to everybody."""
    left = sum(1 << bit for bit, letter in enumerate("rwcda") if letter not in letters)
    return (ACL(left, Id("world", "anyone")), ANN)


class Pair:
    """A source and a target with a subtree /app each, and clients that are ann."""

    def __init__(self, stack: contextlib.ExitStack, hosts: tuple[str, str], state: Path) -> None:
        options = ClientOptions(auth=(Credential("digest", "ann:secret"),))
        self.source, self.target = (stack.enter_context(Client(each, options)) for each in hosts)
        self._hosts = hosts
        self._state = state
        self.source.create("/app", b"1")

    def once(self, *options: str) -> tuple[int, str]:
        source, target = (f"{each}/app" for each in self._hosts)
        return run_here(source, target, self._state, "--once", *options)

    def refused(self, *options: str) -> str:
        """Run a mirror, which must fail; return its error."""
        status, text = self.once(*options)
        assert status == 1, text
        return next(line for line in text.splitlines() if line.startswith("zoolet: "))


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(EmbeddedServer())
        target = stack.enter_context(EmbeddedServer(settings={"jute.maxbuffer": MAX_BYTES}))
        yield Pair(stack, (source.hosts, target.hosts), tmp_path / "s.sqlite")


def test_a_znode_that_is_too_large_for_the_target_is_named(pair: Pair) -> None:
    for number in range(40):
        pair.source.create(f"/app/{number}", b"x" * 100)
    pair.source.set("/app/7", b"x" * (MAX_BYTES - 100))
    error = pair.refused()
    assert "wrote /app/7, with 19,900 bytes of data" in error
    assert "set jute.maxbuffer to at least 20,912 there" in error
    # The writes before it are made, and the mirror goes on when the znode fits.
    assert {"0", "10", "6"} <= set(pair.target.children("/app").names)
    pair.source.set("/app/7", b"x")
    assert pair.once()[0] == 0


def test_a_znode_that_is_too_large_for_apache_is_named(tmp_path: Path, apache_jars: Path) -> None:
    with (
        EmbeddedServer(settings={"jute.maxbuffer": 2_000_000}) as source,
        ApacheServer(tmp_path / "apache", apache_jars) as target,
        contextlib.ExitStack() as stack,
    ):
        pair = Pair(stack, (source.hosts, target.hosts), tmp_path / "s.sqlite")
        pair.source.create("/app/a", b"")
        pair.source.create("/app/large", b"x" * 1_048_500)
        error = pair.refused()
        assert "wrote /app/large, with 1,048,500 bytes of data" in error
        assert "jute.maxbuffer" in error


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_refused_login_names_the_side_and_the_option(pair: Pair, side: str) -> None:
    option = "--from-auth" if side == "source" else "--to-auth"
    error = pair.refused(option, "unknown:ann:secret")
    assert error == (
        f"zoolet: the {side} refuses the login: check the scheme and the secret of {option}"
    )


@pytest.mark.parametrize("letters", ["r", "a"])
def test_a_source_that_may_not_be_read_is_named(pair: Pair, letters: str) -> None:
    pair.source.create("/app/a", acl=acl_without(letters))
    error = pair.refused()
    assert error.startswith("zoolet: the source ")
    assert " /app/a" in error
    assert ("READ" if letters == "r" else "ADMIN") in error
    assert "--from-auth digest:USER:PASSWORD" in error
    assert pair.once("--from-auth", "digest:ann:secret")[0] == 0


@pytest.mark.parametrize(
    ("letters", "change", "wanted"),
    [
        ("c", "create", "create /app/b: the ACL of its parent /app gives the mirror no CREATE"),
        ("d", "delete", "delete /app/a: the ACL of its parent /app gives the mirror no DELETE"),
        ("w", "set", "write /app: the ACL of this znode gives the mirror no WRITE"),
        ("a", "acl", "set the ACL of /app: the ACL of this znode gives the mirror no ADMIN"),
        ("d", "counter", "raise the counter for sequential znodes below /app"),
    ],
)
def test_a_write_that_the_target_refuses_names_the_acl(
    pair: Pair, letters: str, change: str, wanted: str
) -> None:
    if change != "create":
        pair.source.create("/app/a")
    pair.source.set_acl("/app", acl_without(letters))
    # Only ann can read the complete ACL.
    assert pair.once("--from-auth", "digest:ann:secret")[0] == 0
    if change == "create":
        pair.source.create("/app/b")
    elif change == "delete":
        pair.source.delete("/app/a")
    elif change == "set":
        pair.source.set("/app", b"2")
    elif change == "acl":
        pair.source.set_acl("/app", OPEN_ACL)
    else:
        pair.source.multi(Multi().create("/app/b").delete("/app/b"))
    error = pair.refused("--from-auth", "digest:ann:secret")
    assert error.startswith(f"zoolet: the target refuses to {wanted}")
    assert "--to-auth digest:USER:PASSWORD" in error
    both = ("--from-auth", "digest:ann:secret", "--to-auth", "digest:ann:secret")
    assert pair.once(*both)[0] == 0


def test_a_target_in_which_the_marker_cannot_be_written_is_named(pair: Pair) -> None:
    pair.target.set_acl("/", acl_without("c"))
    error = pair.refused()
    assert error.startswith("zoolet: the target refuses to create /zoolet-mirror-app: the ACL of")


def test_a_copy_that_may_not_be_read_is_named(pair: Pair) -> None:
    pair.target.create("/app", b"1", acl=acl_without("r"))
    error = pair.refused()
    assert error.startswith("zoolet: the target refuses to read /app: the ACL of this znode")
    assert "--to-auth" in error


@pytest.mark.parametrize("name", ["\u202egpj", "\u2066x", "\ufeff", "\u061c"])
def test_names_that_change_the_terminal_are_escaped(pair: Pair, name: str) -> None:
    pair.target.create("/app", b"1")
    pair.target.create(f"/app/{name}")
    error = pair.refused()
    assert name not in error
    assert ascii(name)[1:-1] in error
    status, text = pair.once("--on-conflict", "overwrite")
    assert status == 0
    assert name not in text
