"""The rate limit of logins, the file of users, and the end of logins."""

import random
from pathlib import Path

import pytest

from zoolet.passwords.hashes import NOBODYS_HASH
from zoolet.web.access.attempts import OF_ADDRESS, OF_NAME, WINDOW_S, Attempts
from zoolet.web.access.logins import IDLE_S, MOST_LOGINS, Logins, new_token
from zoolet.web.access.users import Role, UsersError, UsersFile, read_users


@pytest.mark.parametrize("seed", range(10))
def test_attempts_agree_with_a_simple_model(seed: int) -> None:
    chance = random.Random(seed)
    attempts = Attempts()
    allowed: list[tuple[float, str, str]] = []
    now_s = 0.0
    for _ in range(2000):
        now_s += chance.choice([0.0, 0.1, 3.0])
        address, name = chance.choice("ab"), chance.choice("xyz")
        if not attempts.wait_s(address, name, now_s):
            allowed.append((now_s, address, name))
    for start_s, address, name in allowed:
        # A window begins at an attempt, so a time of this length touches at most two windows.
        near = [one for one in allowed if start_s <= one[0] < start_s + WINDOW_S]
        assert sum(one[1] == address for one in near) <= 2 * OF_ADDRESS
        assert sum(one[2] == name for one in near) <= 2 * OF_NAME
    assert len(allowed) > OF_ADDRESS


def test_an_address_waits_until_the_window_is_over() -> None:
    attempts = Attempts()
    for _ in range(OF_ADDRESS):
        assert attempts.wait_s("a", "x", 1.0) == 0.0
    assert attempts.wait_s("a", "y", 11.0) == WINDOW_S - 10.0
    assert attempts.wait_s("b", "x", 11.0) == 0.0
    assert attempts.wait_s("a", "x", 1.0 + WINDOW_S) == 0.0


def test_logins_end_by_time_by_number_and_by_logout() -> None:
    ended: list[str] = []
    logins = Logins(ended.append)
    tokens = [new_token() for _ in range(MOST_LOGINS + 1)]
    keys = [logins.begin(token, "u", 0.0).key for token in tokens]
    assert ended == keys[:1]
    assert logins.find(tokens[0], 0.0) is None
    assert logins.find(tokens[1], IDLE_S) is not None
    assert logins.find(tokens[2], IDLE_S + 1) is None
    logins.end(tokens[3])
    logins.end_idle(IDLE_S + 1)
    assert set(ended) == set(keys) - {keys[1]}
    assert tokens[1] not in repr(logins.find(tokens[1], IDLE_S + 2))


def test_the_token_of_a_form_depends_on_the_browser_and_the_user() -> None:
    logins = Logins(lambda _: None)
    assert logins.form_token("a", "b") == logins.form_token("a", "b")
    others = {logins.form_token(*pair) for pair in [("a", ""), ("b", "a"), ("ab", ""), ("a", "b")]}
    assert len(others) == 4
    assert Logins(lambda _: None).form_token("a", "b") not in others


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no users"),
        ("admin proxy a", ":1: a line is ROLE"),
        ("viewer proxy", ":1: a line is ROLE"),
        ("viewer password a", ":1: a line is ROLE"),
        ("viewer certificate a", ":1: a line is ROLE"),
        ("viewer proxy a\n\nviewer proxy a", ":3: the user is there twice"),
        ("viewer password a secret", ":1: the hash of the password is not valid"),
        ("x" * ((1 << 20) + 1), "longer than 1 MiB"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "users"
    path.write_text(text)
    with pytest.raises(UsersError) as found:
        read_users(path)
    assert message in str(found.value)
    assert "secret" not in str(found.value)


def test_a_change_of_the_file_counts_at_once(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text(f"# people\nviewer password a {NOBODYS_HASH}\n")
    users = UsersFile(path)
    assert users.current().passwords["a"][1] is Role.VIEWER
    path.write_text("editor proxy b\nviewer proxy c\n")
    assert users.current().proxied == {"b": Role.EDITOR, "c": Role.VIEWER}
    path.write_text("nonsense")
    assert users.current().proxied["b"] is Role.EDITOR
    path.unlink()
    assert users.current().proxied["b"] is Role.EDITOR
    with pytest.raises(UsersError, match="cannot be read"):
        UsersFile(path)
