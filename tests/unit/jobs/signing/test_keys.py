"""The file of keys: what it may contain, who may read it, and how changes are noticed."""

import os
from pathlib import Path

import pytest

from tests.support.signing import secret_of, write_keys
from zoolet.jobs.errors import SigningKeyError
from zoolet.jobs.signing.keys import SigningKeys

SECRET = secret_of("a")


def test_the_first_key_signs_and_all_are_found(tmp_path: Path) -> None:
    keys = SigningKeys(write_keys(tmp_path / "keys", "new", "old"))
    assert keys.first().id == "new"
    assert keys.find("old") is not None
    assert keys.find("other") is None
    assert keys.first().secret.hex() not in repr(keys.first())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it must have 1 to 100"),
        ("# only a comment\n", "it must have 1 to 100"),
        (f"a {SECRET}\na {SECRET}\n", "line 2: the id a is used twice"),
        (f"a {SECRET} x\n", "line 1: a line has an id and a secret"),
        (f"a:b {SECRET}\n", "line 1"),
        (f"{'x' * 65} {SECRET}\n", "line 1"),
        (f"a {SECRET[2:]}\n", "at least 64 hexadecimal digits"),
        (f"a {SECRET[:-1]}g\n", "line 1"),
        (f"\n\nab\u00e9 {SECRET}\n", "line 3"),
        ("x" * 70_000, "longer than 64 KiB"),
    ],
)
def test_an_invalid_file_is_refused_without_its_secrets(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "keys"
    path.touch(mode=0o600)
    path.write_text(text)
    with pytest.raises(SigningKeyError, match=message) as raised:
        SigningKeys(path)
    assert SECRET[:20] not in str(raised.value)


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o620, 0o666, 0o601])
def test_a_file_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = write_keys(tmp_path / "keys", "a")
    path.chmod(mode)
    with pytest.raises(SigningKeyError, match=f"its mode is {mode:04o}.*chmod 0600"):
        SigningKeys(path)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440])
def test_a_file_of_the_owner_and_the_group_is_accepted(tmp_path: Path, mode: int) -> None:
    path = write_keys(tmp_path / "keys", "a")
    path.chmod(mode)
    assert SigningKeys(path).first().id == "a"


def test_a_missing_file_and_a_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SigningKeyError, match="cannot be read"):
        SigningKeys(tmp_path / "nothing")
    with pytest.raises(SigningKeyError, match=r"cannot be read|is not a file"):
        SigningKeys(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = write_keys(tmp_path / "keys", "a")
    os.chown(path, 12345, -1)
    with pytest.raises(SigningKeyError, match="belongs to the user 12345"):
        SigningKeys(path)


def test_a_changed_file_is_read_again_and_a_wrong_one_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_keys(tmp_path / "keys", "old")
    keys = SigningKeys(path)
    write_keys(path, "new", "old")
    assert keys.first().id == "new"
    write_keys(path, "new")
    assert keys.find("old") is None
    path.write_text("nonsense\n")
    assert keys.first().id == "new"
    assert "the keys of signatures stay as they are" in caplog.text
    path.unlink()
    assert keys.find("new") is not None
    write_keys(path, "newest")
    assert keys.first().id == "newest"
