"""The file of operators: roles, hashes, and errors that show no secret."""

import base64
import random
from pathlib import Path

import pytest

from zoolet.passwords.hashes import PasswordHash, hash_of
from zoolet.server.common.errors import ServerError
from zoolet.server.operator import admin
from zoolet.server.operator.http import Request
from zoolet.server.operator.roles import Role
from zoolet.server.operator.users import read_users

SALT = base64.b64encode(bytes(16)).decode()
DIGEST = base64.b64encode(bytes(32)).decode()
SMALL = f"scrypt:16:1:1:{SALT}:{DIGEST}"


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "users"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_the_users_of_a_file(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        f"# operators\n\nfull password root {hash_of('a')}\r\n"
        f"read-only\tpassword  prom\t{SMALL}\n"
        "read-only certificate CN=Prometheus Server, O=Example\nfull certificate CN=ops\n",
    )
    users = read_users(path)
    assert {name: role for name, (_, role) in users.passwords.items()} == {
        "root": Role.FULL,
        "prom": Role.READ_ONLY,
    }
    assert users.passwords["root"][0].matches("a")
    assert users.certificates == {
        "CN=Prometheus Server, O=Example": Role.READ_ONLY,
        "CN=ops": Role.FULL,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no users"),
        ("# nothing\n", "has no users"),
        (b"\xff", "is not UTF-8"),
        ("x" * ((1 << 20) + 1), "is longer than 1 MiB"),
        ("admin password a " + SMALL, ":1: a line is ROLE password NAME HASH"),
        ("full pasword a " + SMALL, ":1: a line is ROLE"),
        ("full password a", ":1: a line is ROLE"),
        ("full password a b " + SMALL, ":1: a line is ROLE"),
        ("full password a:b " + SMALL, ":1: a line is ROLE"),
        ("full certificate", ":1: a line is ROLE"),
        (f"full password a {SMALL}\nread-only password a {SMALL}", ":2: the user is there twice"),
        ("full certificate CN=a\n\nfull certificate CN=a", ":3: the user is there twice"),
        ("full password a secret", ":1: the hash of the password is not valid"),
        (f"full password a md5:16:1:1:{SALT}:{DIGEST}", "is not valid"),
        (f"full password a scrypt:15:1:1:{SALT}:{DIGEST}", "is not valid"),
        (f"full password a scrypt:0:1:1:{SALT}:{DIGEST}", "is not valid"),
        (f"full password a scrypt:16:0:1:{SALT}:{DIGEST}", "is not valid"),
        (f"full password a scrypt:16:1:0:{SALT}:{DIGEST}", "is not valid"),
        (f"full password a scrypt:16:1:99:{SALT}:{DIGEST}", "is not valid"),
        (f"full password a scrypt:1048576:8:1:{SALT}:{DIGEST}", "is not valid"),
        (f"full password a scrypt:65536:1:1:{SALT}:{DIGEST}", "is not valid"),
        (f"full password a scrypt:-16:1:1:{SALT}:{DIGEST}", "is not valid"),
        (f"full password a scrypt:16:1:1:{SALT[:8]}:{DIGEST}", "is not valid"),
        (f"full password a scrypt:16:1:1:{SALT}:{DIGEST[:8]}", "is not valid"),
        (f"full password a scrypt:16:1:1:{SALT}:?", "is not valid"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(ServerError) as found:
        read_users(written(tmp_path, text))
    assert message in str(found.value)
    assert "secret" not in str(found.value)
    assert SALT[:8] not in str(found.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="cannot be read: No such file or directory"):
        read_users(tmp_path / "missing")


@pytest.mark.parametrize("seed", range(20))
def test_random_files_give_users_or_the_documented_error(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    words = ["full", "read-only", "password", "certificate", "a", "b", SMALL, ":", " ", "\t", "#"]
    words += ["scrypt:", "\n", "\r", "CN=a", "1", "-1", "99999999999999999999", DIGEST, "\u2028"]
    for _ in range(100):
        text = " ".join(chance.choices(words, k=chance.randrange(12)))
        try:
            users = read_users(written(tmp_path, text))
        except ServerError:
            continue
        assert users.passwords or users.certificates
        for hashed, _ in users.passwords.values():
            assert isinstance(hashed, PasswordHash)


def test_each_command_has_a_role() -> None:
    """A new command needs a decision: is it enough to have the role read-only?"""
    assert {
        "connection_stat_reset",
        "observer_connection_stat_reset",
        "set_trace_mask",
        "stat_reset",
    } == admin.FULL_COMMANDS
    assert len(admin.READ_ONLY_COMMANDS) == 24
    needed = admin.needed_role("/commands")

    def role(path: str) -> Role:
        return needed(Request("GET", path, {}, {}, ""))

    read_only = ["", "/", "/ruok", "/stat", "/stats", "/dump", "/watch_details", "/mntr", "/icfg"]
    read_only += ["/top", "/topk"]
    full = ["/snapshot", "/snap", "/restore", "/rest", "/stmk", "/crst", "/srst", "/orst", "/new"]
    assert {role(f"/commands{path}") for path in read_only} == {Role.READ_ONLY}
    assert {role(f"/commands{path}") for path in [*full, "/../x", "//ruok", "/ruok/"]} == {
        Role.FULL
    }
    assert role("/elsewhere") is Role.FULL
