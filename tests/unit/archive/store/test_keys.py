"""Key files: only their owner can read them, and they are never replaced."""

import stat
from pathlib import Path

import pytest

from zoolet.archive.errors import ArchiveError
from zoolet.archive.store.keys import create_key_file, read_key_file


def test_a_key_comes_back_and_only_this_user_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "key"
    key = create_key_file(path)
    assert read_key_file(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key.secret.hex() not in repr(key)


def test_a_key_file_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "key"
    key = create_key_file(path)
    with pytest.raises(ArchiveError, match="exists"):
        create_key_file(path)
    assert read_key_file(path) == key


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "[" * 9999, '{"zoolet_archive_key": 1, "id": "a", "key": "AA=="}']
)
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    with pytest.raises(ArchiveError, match="not a key file"):
        read_key_file(path)
    with pytest.raises(ArchiveError, match="cannot be read"):
        read_key_file(tmp_path / "missing")
