"""The options of ``zoolet archive``."""

from pathlib import Path

import pytest

from zoolet.archive.commands.archive import _work_dir


def test_each_archive_has_a_work_directory_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    found = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        found.add(_work_dir(None, "archive"))
        assert _work_dir(None, "archive") == _work_dir(None, str(tmp_path / name / "archive"))
    found |= {_work_dir(None, url) for url in ("s3://a/b-c", "s3://a/b/c", "s3://a-b/c")}
    assert len(found) == 5
    assert _work_dir(Path("/given"), "archive") == Path("/given")
    assert len(_work_dir(None, "/" + "long/" * 500).name) < 255
