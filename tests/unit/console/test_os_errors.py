"""Errors of the operating system in one line, with what to do."""

import errno
import os

import pytest

from zoolet.console.os_errors import explain


@pytest.mark.parametrize("code", [errno.EACCES, errno.ENOSPC, errno.EROFS, errno.EIO, errno.EMFILE])
def test_a_known_error_says_what_to_do(code: int) -> None:
    line = explain(OSError(code, os.strerror(code), "/a/b"))
    assert line.startswith(f"/a/b: {os.strerror(code)}. ")
    assert line.endswith(".")
    assert len(line) > len(f"/a/b: {os.strerror(code)}. ")


@pytest.mark.parametrize("code", sorted(errno.errorcode))
def test_any_error_is_one_line(code: int) -> None:
    for error in (OSError(code, os.strerror(code)), OSError(code, os.strerror(code), "/x")):
        line = explain(error)
        assert "\n" not in line
        assert "None" not in line
        assert os.strerror(code) in line


@pytest.mark.parametrize(
    "error", [OSError(), OSError("text only"), TimeoutError(), OSError(None, None)]
)
def test_an_error_without_number_has_text(error: OSError) -> None:
    assert explain(error).rstrip(".")


def test_both_paths_of_a_rename_are_named() -> None:
    error = OSError(errno.EACCES, "Permission denied", "/a", None, "/b")
    assert explain(error).startswith("/a -> /b: Permission denied.")
