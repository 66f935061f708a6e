"""Files with secrets: what cannot be read is refused at once, and others who may read are named."""

import logging
import os
from pathlib import Path

import pytest

from zoolet.passwords.secret_files import SecretFileError, read_secret_file


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"x" * 2048)
    assert read_secret_file(path, 2048).text() == "x" * 2048
    with pytest.raises(SecretFileError, match="is longer than 1 KiB"):
        read_secret_file(path, 2047)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none", "No such file or directory"),
        ("directory", "Is a directory"),
        ("pipe", "it is a pipe or a device"),
        ("link-to-pipe", "it is a pipe or a device"),
        ("zero\0byte", "the path has a zero byte"),
    ],
)
def test_what_is_no_file_is_refused_without_a_wait(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link-to-pipe").symlink_to("pipe")
    with pytest.raises(SecretFileError, match=reason):
        read_secret_file(tmp_path / name, 100)


def test_a_device_that_never_ends_is_refused() -> None:
    with pytest.raises(SecretFileError, match="it is a pipe or a device"):
        read_secret_file(Path("/dev/zero"), 100)


def test_no_message_has_the_content(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"caf\xe9 secret")
    file = read_secret_file(path, 100)
    with pytest.raises(SecretFileError) as refused:
        file.text()
    assert str(refused.value) == f"{path} cannot be read: it is not UTF-8"
    assert "caf" not in repr(file)


@pytest.mark.parametrize(
    ("mode", "is_open"), [(0o600, False), (0o640, False), (0o644, True), (0o660, True)]
)
def test_a_warning_names_a_file_that_others_can_use(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, is_open: bool
) -> None:
    path = tmp_path / "secret"
    path.touch()
    path.chmod(mode)
    with caplog.at_level(logging.WARNING):
        read_secret_file(path, 100).warn()
    said = f"other users can read or change {path}, a file with secrets (its mode is {mode:04o})"
    assert (said in caplog.text) is is_open
