"""What is a path and what is none, by ZooKeeper's PathUtils."""

import pytest

from zoolet.model import paths


@pytest.mark.parametrize("path", ["/", "/a", "/a/b", "/a b", "/ü", "/a-b:c", "/...", "/a.b"])
def test_accepts_a_path(path: str) -> None:
    assert paths.reason_invalid(path) is None


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "at least one character"),
        ("a", "starts with /"),
        ("/a/", "does not end"),
        ("//", "does not end"),
        ("/a//b", "empty part"),
        ("/a/./b", "relative part"),
        ("/..", "relative part"),
        ("/a\x00", "character"),
        ("/a\x1fb", "character"),
        ("/\ue000", "character"),
        ("/\uffff", "character"),
        ("/\U0001f600", "character"),
    ],
)
def test_says_why_a_path_is_none(path: str, reason: str) -> None:
    found = paths.reason_invalid(path)
    assert found is not None
    assert reason in found


def test_parents_in_a_row_are_the_same_object() -> None:
    parents = paths.Parents()
    for path in ("/a/b", "/a/c", "/a/c/d", "/a", "/", "/a/b", "/b/b", "//b", "/a//b"):
        assert parents.of(path) == paths.parent_of(path)
    assert parents.of("/some/where") is parents.of("/some/else")


def test_takes_a_path_apart_and_together() -> None:
    assert paths.parent_of("/a") == paths.parent_of("/") == "/"
    assert paths.parent_of("/a/b") == "/a"
    assert paths.name_of("/a/b") == "b"
    assert paths.join("/", "a") == "/a"
    assert paths.join("/a", "b") == "/a/b"
